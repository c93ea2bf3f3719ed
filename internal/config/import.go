package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Import turns a configuration of Dropbox's LLAMA into one of ours, for reflectors on
// the given UDP port. It knows both forms: that of the Go collector, and the older map
// of tags by host. What has no counterpart stands in comments beside what comes
// nearest to it. A mistake in the old file gives an error of type [Errors].
func Import(name string, data []byte, port uint16) ([]byte, error) {
	root, p := document(name, data)
	if p != nil {
		return nil, Errors{*p}
	}
	if root == nil {
		return nil, Errors{{File: name, Text: "is empty"}}
	}
	d := newDecoder(name, env{})
	o := newOldConfig(d)
	top := value{d: d}.child(root, nil, "")
	if isOldFull(root) {
		o.full(top)
	} else {
		o.short(top)
	}
	if err := d.errors(); err != nil {
		return nil, err
	}
	o.finish()
	return o.write(port)
}

// ImportFile is Import of a file.
func ImportFile(path string, port uint16) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open old configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read old configuration: %w", err)
	}
	out, err := Import(path, data, port)
	if err != nil {
		return nil, fmt.Errorf("old configuration is wrong:\n%w", err)
	}
	return out, nil
}

// oldFullKeys are the keys of the Go collector's form.
var oldFullKeys = []string{"summarization", "api", "ports", "port_groups", "rate_limits", "tests", "targets"}

// isOldFull tells the forms apart: in the older one a value is a map of single values,
// which of the Go collector's keys summarization and api are too.
func isOldFull(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if !slices.Contains(oldFullKeys, root.Content[i].Value) {
			continue
		}
		for _, n := range root.Content[i+1].Content {
			if n.Kind != yaml.ScalarNode {
				return true // deeper than a map of tags
			}
		}
	}
	return false
}

// oldConfig is what of an old configuration has a counterpart.
type oldConfig struct {
	d        *decoder
	window   time.Duration
	api      string
	source   string
	classes  []oldClass
	ports    int
	timeout  time.Duration
	interval time.Duration
	targets  []oldTarget
	hostTags map[string]string
	notes    map[string][]string // by the key of ours that they stand at
}

// oldClass is a ToS, by the name of the port that has it.
type oldClass struct {
	name string
	dscp uint8
}

type oldTarget struct {
	name, address string
	tags          []oldTag
	notes         []string
}

type oldTag struct{ key, value string }

// The defaults of the Go collector, which the older form has always.
const (
	oldWindow   = 30 * time.Second
	oldAPI      = "0.0.0.0:5000"
	oldPorts    = 4
	oldTimeout  = time.Second
	oldInterval = time.Second / 4
)

func newOldConfig(d *decoder) *oldConfig {
	return &oldConfig{d: d, hostTags: map[string]string{}, notes: map[string][]string{}}
}

// note says at a key of ours what has become of an old setting.
func (o *oldConfig) note(key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(o.notes[key], text) {
		o.notes[key] = append(o.notes[key], text)
	}
}

// short reads the older form: {host: {tag: value}}.
func (o *oldConfig) short(v value) {
	o.window, o.api, o.ports, o.timeout, o.interval = oldWindow, oldAPI, oldPorts, oldTimeout, oldInterval
	o.classes = []oldClass{{name: "be"}}
	o.note("probing", "The old file has targets only; this is what its collector did by default: 4 ports, 4 probes/s each, 1 s.")
	for _, p := range v.pairs() {
		o.target(p.key, p.value, p.at)
	}
}

// finish fills in what the old file leaves open, and brings into bounds what is beyond ours.
func (o *oldConfig) finish() {
	setIfZero(&o.window, oldWindow)
	setIfZero(&o.timeout, oldTimeout)
	setIfZero(&o.interval, oldInterval)
	setIfZero(&o.ports, oldPorts)
	setIfZero(&o.api, oldAPI)
	if len(o.classes) == 0 {
		o.classes = []oldClass{{name: "be"}}
	}
	if o.window%time.Second != 0 || day%o.window != 0 {
		below, above := divisors(o.window)
		o.note("probing.window", "The old interval of %s does not divide a day: %s or %s would.", short(o.window), short(below), short(above))
		o.window = below
	}
	o.bound()
	o.hostOnly()
}

// bound lowers what an agent would refuse.
func (o *oldConfig) bound() {
	if most := base().Probing.SourcePorts.Size(); o.ports > most {
		o.note("probing.ports", "The old %d are more than there are source_ports.", o.ports)
		o.ports = most
	}
	if most := maxLateWindows * o.window / 4; o.timeout > most {
		o.note("probing.timeout", "The old %s is too long for a window of %s.", short(o.timeout), short(o.window))
		o.timeout = most
	}
	if _, all := o.rates(); all > maxRate {
		o.note("probing.interval", "The old %s would be %d probes/s.", o.interval, all)
		o.interval = min(maxInterval, o.interval*time.Duration(all/maxRate+1))
	}
}

func setIfZero[T comparable](v *T, is T) {
	var zero T
	if *v == zero {
		*v = is
	}
}

// hostOnly moves the tags src_… that all targets share to this host, whose they are.
func (o *oldConfig) hostOnly() {
	shared := map[string]string{}
	for i, t := range o.targets {
		has := map[string]string{}
		for _, tag := range t.tags {
			if name, ok := strings.CutPrefix(tag.key, "src_"); ok && name != "" && !slices.Contains(ownTags, name) {
				has[name] = tag.value
			}
		}
		if i == 0 {
			shared = has
		}
		for k, v := range shared {
			if has[k] != v {
				delete(shared, k)
			}
		}
	}
	o.hostTags = shared
	for i := range o.targets {
		t := &o.targets[i]
		t.tags = slices.DeleteFunc(t.tags, func(tag oldTag) bool {
			name, ok := strings.CutPrefix(tag.key, "src_")
			return ok && shared[name] == tag.value && shared[name] != ""
		})
		for _, tag := range t.tags {
			if strings.HasPrefix(tag.key, "src_") {
				t.notes = append(t.notes, tag.key+" is not the same for all targets: if it is this host's, write it under host.tags.")
			}
		}
	}
}

// write is the new file.
func (o *oldConfig) write(port uint16) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(o.document(port)); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return b.Bytes(), nil
}
