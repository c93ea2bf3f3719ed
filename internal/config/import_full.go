package config

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// oldPort is an entry of ports: a socket that probes leave from.
type oldPort struct {
	ip      string
	port    int
	tos     int
	timeout int // ms
}

// oldMember is an element of a port group: so many sockets of that kind.
type oldMember struct {
	port  string
	count int
	at    value
}

// oldFull is the Go collector's form on the walk.
type oldFull struct {
	ports  map[string]oldPort
	groups map[string][]oldMember
	rates  map[string]float64
	sets   map[string]value
	tested []string // sets, in the order of the tests
}

// full reads the Go collector's form. It is read as that collector does: what it does not
// know it passes over.
func (o *oldConfig) full(v value) {
	f := oldFull{ports: map[string]oldPort{}, groups: map[string][]oldMember{}, rates: map[string]float64{}, sets: map[string]value{}}
	var tests []value
	for _, p := range v.pairs() {
		switch p.key {
		case "summarization":
			o.summarization(p.value)
		case "api":
			o.section(p.value, "api", scalar("bind", &o.api, parseAPIListen))
		case "ports":
			o.oldPorts(p.value, f.ports)
		case "port_groups":
			o.oldGroups(p.value, f.groups)
		case "rate_limits":
			for _, rate := range p.pairs() {
				var cps float64
				o.section(rate.value, "probing.interval", scalar("cps", &cps, number(1/maxInterval.Seconds(), 1000)))
				f.rates[rate.key] = cps
			}
		case "tests":
			tests = p.list()
		case "targets":
			for _, set := range p.pairs() {
				f.sets[set.key] = set.value
			}
		default:
			o.note("", "%s: has no counterpart, and meant nothing to the old collector.", keyText(p.key))
		}
	}
	for _, t := range tests {
		o.test(&f, t)
	}
	if len(tests) == 0 {
		o.note("targets", "The old file has no tests: its collector probed none of these.")
		f.tested = sortedKeys(f.sets)
	}
	for _, name := range f.tested {
		for _, item := range f.sets[name].list() {
			o.oldTarget(item)
		}
	}
	for _, name := range sortedKeys(f.sets) {
		if !slices.Contains(f.tested, name) {
			o.note("targets", "The set %s is in no test, and left out.", keyText(name))
		}
	}
}

// section reads a map, and notes at a key of ours what it does not know.
func (o *oldConfig) section(v value, key string, fs ...field) {
	v.sectionElse(fs, func(p pair) {
		o.note(key, "%s: has no counterpart, and meant nothing to the old collector.", p.path)
	})
}

func (o *oldConfig) summarization(v value) {
	var seconds, handlers int
	o.section(v, "probing.window",
		scalar("interval", &seconds, integer(1, 86400)), scalar("handlers", &handlers, integer(0, math.MaxInt32)))
	o.window = time.Duration(seconds) * time.Second
	if handlers != 0 {
		o.note("probing.window", "summarization.handlers (%d) has no counterpart.", handlers)
	}
}

func (o *oldConfig) oldPorts(v value, ports map[string]oldPort) {
	for _, p := range v.pairs() {
		var port oldPort
		o.section(p.value, "probing",
			scalar("ip", &port.ip, text), scalar("port", &port.port, integer(0, 65535)),
			scalar("tos", &port.tos, integer(0, 255)), scalar("timeout", &port.timeout, integer(0, int(maxTimeout/time.Millisecond))))
		ports[p.key] = port
	}
}

func (o *oldConfig) oldGroups(v value, groups map[string][]oldMember) {
	for _, group := range v.pairs() {
		for _, item := range group.list() {
			m := oldMember{at: item}
			o.section(item, "probing.ports", scalar("port", &m.port, text), scalar("count", &m.count, integer(0, 64512)))
			groups[group.key] = append(groups[group.key], m)
		}
	}
}

// test brings one test into what is probed: there is one way to probe here for all
// targets, so that of several tests the most is taken.
func (o *oldConfig) test(f *oldFull, v value) {
	var set, group, rate string
	o.section(v, "targets", scalar("targets", &set, text), scalar("port_group", &group, text), scalar("rate_limit", &rate, text))
	members, ok := f.groups[group]
	if !ok {
		v.problem("%s", unknown("port_group "+show(group), group, sortedKeys(f.groups)))
	}
	cps, ok := f.rates[rate]
	if !ok {
		v.problem("%s", unknown("rate_limit "+show(rate), rate, sortedKeys(f.rates)))
	}
	if _, ok := f.sets[set]; !ok {
		v.problem("%s", unknown("set of targets "+show(set), set, sortedKeys(f.sets)))
	} else if !slices.Contains(f.tested, set) {
		f.tested = append(f.tested, set)
	}
	if cps > 0 {
		every := time.Duration(float64(time.Second) / cps).Round(time.Microsecond)
		keep(o, "probing.interval", "rate_limits", &o.interval, every, every < o.interval)
	}
	sockets := map[string]int{} // by class
	for _, m := range members {
		port, ok := f.ports[m.port]
		if !ok {
			m.at.problem("%s", unknown("port "+show(m.port), m.port, sortedKeys(f.ports)))
			continue
		}
		sockets[o.class(m.port, port)] += m.count
		o.portSettings(m.port, port)
	}
	for _, class := range sortedKeys(sockets) {
		if n := sockets[class]; n > 0 {
			keep(o, "probing.ports", "port_groups", &o.ports, n, n > o.ports)
		}
	}
}

// keep takes the more demanding of two settings, and notes that there are two.
func keep[T int | time.Duration](o *oldConfig, key, from string, have *T, is T, more bool) {
	if *have != 0 && *have != is {
		o.note(key, "%s has %v and %v: there is one value for all classes and targets here.", from, *have, is)
	}
	if *have == 0 || more {
		*have = is
	}
}

// class is the name of the class that has the port's ToS.
func (o *oldConfig) class(name string, p oldPort) string {
	dscp := uint8(p.tos >> 2)
	for _, c := range o.classes {
		if c.dscp == dscp {
			return c.name
		}
	}
	if len(o.classes) == maxClasses {
		o.note("classes", "There are more than %d: ports.%s is left out.", maxClasses, keyText(name))
		return o.classes[0].name
	}
	c := oldClass{dscp: dscp, name: name}
	if dscp == 0 {
		c.name = "be"
	} else if checkText(name) != nil || slices.ContainsFunc(o.classes, func(c oldClass) bool { return c.name == name }) || name == "be" {
		c.name = fmt.Sprintf("dscp%d", dscp)
	}
	o.classes = append(o.classes, c)
	return c.name
}

func (o *oldConfig) portSettings(name string, p oldPort) {
	if p.tos&3 != 0 {
		o.note("classes", "ports.%s: the ECN bits of tos %d have no counterpart: probes are not ECN-capable.", keyText(name), p.tos)
	}
	if p.timeout != 0 {
		timeout := time.Duration(p.timeout) * time.Millisecond
		keep(o, "probing.timeout", "ports", &o.timeout, timeout, timeout > o.timeout)
	}
	if p.port != 0 {
		o.note("probing.ports", "ports.%s: the source port %d has no counterpart: they are taken from source_ports.", keyText(name), p.port)
	}
	switch a := literal(p.ip); {
	case p.ip == "" || a.IsValid() && a.IsUnspecified():
	case !a.IsValid() || checkUnicast(a) != nil:
		o.note("probing.source", "ports.%s: the source address %s has no counterpart.", keyText(name), show(p.ip))
	case o.source != "" && o.source != a.String():
		o.note("probing.source", "ports.%s: another source address, %s: there is one here.", keyText(name), a)
	default:
		o.source = a.String()
	}
}
