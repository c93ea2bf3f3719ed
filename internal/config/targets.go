package config

import (
	"maps"
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// targetFields is the settings of a target; every other key is a tag.
func (d *decoder) targetFields(t *probe.Target) []field {
	return append([]field{
		scalar("address", &t.Address, parseAddress),
		scalar("port", &t.Port, parsePort),
		scalar("tlv", &t.TLV, boolean),
		scalar("ssid", &t.SSID, boolean),
		scalar("paths", &t.Paths, integer(0, maxPaths)),
		{key: "tags", read: func(v value) { readTags(v, t.Tags, targetSettings()...) }},
	}, d.keyRef(&t.Key)...)
}

// targetSettings is the words of a target that are no tags.
func targetSettings() []string { return keysOf(new(decoder).targetFields(new(probe.Target))) }

func (d *decoder) targets(v value) {
	pairs := v.pairs()
	d.cfg.Targets = make([]probe.Target, len(pairs)) // not appended to: keys found later point into it
	for i, p := range pairs {
		d.target(p, &d.cfg.Targets[i])
	}
}

func (d *decoder) target(p pair, t *probe.Target) {
	*t = newTarget(p.key)
	t.Tags = map[string]string{}
	if err := checkText(p.key); err != nil {
		d.put(p.at, p.path, "the target's name "+err.Error())
	}
	fs := d.targetFields(t)
	p.sectionElse(fs, func(tag pair) {
		if near := nearest(tag.key, keysOf(fs)); near != "" {
			tag.warn("is taken as a tag; did you mean %s? (under tags it is a tag for sure)", near)
		}
		readTag(tag, t.Tags)
	})
	p.oneOf("key", "key_file")
	if p.sets("address") || d.bad[p.path] {
		return
	}
	if _, err := parseAddress(t.Address); err != nil {
		d.put(p.at, p.path, err.Error()+": give its address")
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
