package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// oldTarget reads an element of a set of targets: {ip, port, tags}.
func (o *oldConfig) oldTarget(v value) {
	var ip string
	var port int
	var tags value
	o.section(v, "targets", scalar("ip", &ip, text), scalar("port", &port, integer(0, 65535)),
		field{key: "tags", read: func(v value) { tags = v }})
	if !v.sets("ip") {
		v.problem("has no ip")
		return
	}
	if tags.d == nil {
		tags = value{d: v.d, n: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}}
	}
	o.target(ip, tags, v.at)
}

// target adds what is probed at an address, once.
func (o *oldConfig) target(address string, tags value, at *yaml.Node) {
	t := oldTarget{name: address, address: address}
	if _, err := parseAddress(address); err != nil {
		o.d.put(at, "targets", err.Error())
	}
	if a := literal(address); a.IsValid() {
		t.address = a.String()
	}
	place := strings.ToLower(strings.TrimSuffix(t.address, "."))
	if len(address) > maxText || checkText(address) != nil {
		return
	}
	pairs := tags.pairs()
	has := make([]string, len(pairs))
	for i, p := range pairs {
		has[i] = p.key
	}
	for _, p := range pairs {
		t.tag(p, has)
	}
	for i := range o.targets {
		if strings.ToLower(strings.TrimSuffix(o.targets[i].address, ".")) == place {
			o.targets[i].notes = append(o.targets[i].notes, "It is a target more than once in the old file, on several ports or in several sets: its tags are those of the last.")
			o.targets[i].tags = t.tags
			return
		}
	}
	o.targets = append(o.targets, t)
}

// tag takes an old tag under the name that it has here: what is of the target loses
// its dst_, which comes before all its tags. has are the names of all its tags.
func (t *oldTarget) tag(p pair, has []string) {
	value := ""
	if !p.null() {
		var ok bool
		if value, ok = p.scalar(); !ok {
			return
		}
	}
	name := p.key
	if short, ok := strings.CutPrefix(name, "dst_"); ok && short != "" && !slices.Contains(has, short) {
		name = short
	}
	if slices.Contains(targetSettings(), name) || slices.Contains(ownTags, name) {
		t.notes = append(t.notes, fmt.Sprintf("The tag %s is called llama_%s: its name is taken.", keyText(p.key), name))
		name = "llama_" + name
	}
	if err := checkText(name); err != nil {
		t.notes = append(t.notes, fmt.Sprintf("A tag is left out: its name %s.", err))
		return
	}
	if err := checkText(value); err != nil {
		t.notes = append(t.notes, fmt.Sprintf("The tag %s is left out: it %s.", keyText(p.key), err))
		return
	}
	t.tags = append(t.tags, oldTag{name, value})
}

// outside are the addresses that are allowed by name only.
func (o *oldConfig) outside() (all []netip.Addr) {
	allow := defaultAllow()
	for _, t := range o.targets {
		if a := literal(t.address); a.IsValid() && !allow.Contains(a) {
			all = append(all, a.WithZone(""))
		}
	}
	return all
}

// rates are probes/s, of a target with the most flows and of all.
func (o *oldConfig) rates() (target, all int) {
	p := Probing{Ports: o.ports, Classes: make([]probe.Class, len(o.classes))}
	p.Timing.Interval = o.interval
	perSecond := func(flows int) int { return int(float64(flows)/o.interval.Seconds() + 0.999) }
	flows := p.flows(&probe.Target{})
	return perSecond(flows), perSecond(flows * len(o.targets))
}
