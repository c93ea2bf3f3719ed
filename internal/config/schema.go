package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// The limits that are compiled in.
const (
	minInterval = time.Millisecond // below it pacing cannot keep a flow even
	maxInterval = time.Hour
	maxTimeout  = time.Minute
	maxLate     = 5 * time.Minute // a probe in flight takes memory until it is forgotten
	minWindow   = time.Second
	maxRate     = 10_000_000 // packets/s
	maxClasses  = 64
	minSize     = 64
	maxSize     = 65535 // octets of an IP packet
	maxSizes    = 32
	maxPaths    = 1_000_000 // equal paths to a target
)

// schema is every key of the file. Where each value goes is in the decoder's Config.
func (d *decoder) schema() []field {
	c := d.cfg
	return []field{
		section("host",
			scalar("name", &c.Host.Name, parseHostName),
			scalar("clock_error", &c.ClockError, duration(time.Nanosecond, 10*time.Second)),
			field{key: "tags", read: func(v value) {
				c.Host.Tags = map[string]string{}
				readTags(v, c.Host.Tags)
			}},
		),
		section("datapath", datapathFields(&c.Datapath)...),
		section("reflector", d.reflectorFields(&c.Reflector)...),
		field{key: "classes", read: d.classes},
		section("probing", d.probingFields(&c.Probing)...),
		field{key: "targets", read: d.targets, each: ".NAME", sub: d.targetFields(new(probe.Target))},
		section("targets_from", d.targetsFromFields(&c.TargetsFrom)...),
		field{key: "sinks", read: d.sinks, each: "[]", sub: d.sinkFields(new(Sink))},
		scalar("watch", &c.Watch, boolean),
		section("spool", d.spoolFields(&c.Spool)...),
		section("scrape", scrapeFields(&c.Scrape)...),
		d.apiField(&c.API),
	}
}

// parseHostName takes "" as not given.
func parseHostName(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return s, checkText(s)
}

// parseNICStamps refuses what would have no effect.
func parseNICStamps(s string) (bool, error) {
	yes, err := boolean(s)
	if yes {
		return false, errors.New("this version does not take NIC stamps, because there was no NIC to measure their error on: leave it out")
	}
	return yes, err
}

func datapathFields(c *Datapath) []field {
	return []field{
		scalar("mode", &c.Mode, oneOfWords("auto", "native", "tc", "generic", "socket")),
		listOf("interfaces", &c.Interfaces, parseInterface),
		scalar("reset_link", &c.ResetLink, boolean),
		scalar("nic_stamps", new(bool), parseNICStamps),
		scalar("lease", &c.Lease, duration(5*time.Second, time.Hour)),
		scalar("pin", &c.Pin, parseAbsolute),
	}
}

func (d *decoder) probingFields(c *Probing) []field {
	return []field{
		field{key: "classes", read: d.probingClasses},
		scalar("ports", &c.Ports, integer(1, 64512)),
		listOf("sizes", &c.Sizes, integer(minSize, maxSize)),
		scalar("source_ports", &c.SourcePorts, parseSourcePorts),
		scalar("rotate", &c.Rotate, number(0, 1)),
		scalar("interval", &c.Timing.Interval, duration(minInterval, maxInterval)),
		scalar("timeout", &c.Timing.Timeout, duration(time.Millisecond, maxTimeout)),
		scalar("late", &c.Timing.Late, duration(time.Millisecond, maxLate)),
		scalar("window", &c.Timing.Window, duration(minWindow, day)),
		scalar("max_rate", &c.MaxRate, integer(1, maxRate)),
		scalar("max_rate_per_target", &c.MaxRatePerTarget, integer(1, maxRate)),
		scalar("max_cpu", &c.MaxCPU, number(0, 1024)),
		allowed("allow", &c.Allow),
		field{key: "source", read: func(v value) { c.Source = readSource(v) }},
		scalar("device", &c.Device, parseDevice),
		scalar("timestamps", &c.Timestamps, oneOfWords(TimestampsNTP, TimestampsPTP)),
		scalar("emit", &c.Emit, oneOfWords(EmitSocket, EmitPacket)),
		scalar("family", &c.Family, oneOfWords(FamilyAny, Family4, Family6, FamilyBoth)),
		field{key: "paths", read: d.readPaths, each: "[]", sub: pathFields(new(PathRule))},
		scalar("one_way", &c.OneWay, boolean),
		scalar("flow_lines", &c.AllFlowLines, parseFlowLines),
		scalar("flow_slow", &c.FlowSlow, parseFlowSlow),
		scalar("max_flow_lines", &c.MaxFlowLines, integer(1, 1_000_000)),
	}
}

func parseFlowLines(s string) (bool, error) {
	_, err := oneOfWords("lossy", "all")(s)
	return s == "all", err
}

// parseFlowSlow: a factor below 1 would call flows slow that are not.
func parseFlowSlow(s string) (float64, error) {
	f, err := number(0, 1000)(s)
	if err == nil && f > 0 && f < 1 {
		err = fmt.Errorf("%s is below 1: write 0 for no slow flows, or 1 to 1000", s)
	}
	return f, err
}

// classes reads {name: DSCP}; it replaces the classes of the default.
func (d *decoder) classes(v value) {
	pairs := v.pairs()
	if len(pairs) == 0 {
		return
	}
	d.cfg.Classes = nil
	for _, p := range pairs {
		if err := checkText(p.key); err != nil {
			d.put(p.at, p.path, "the class's name "+err.Error())
		}
		c := probe.Class{Name: p.key}
		readScalar(p.value, &c.DSCP, parseDSCP)
		d.cfg.Classes = append(d.cfg.Classes, c)
	}
	if n := len(pairs); n > maxClasses {
		v.problem("%d classes: at most %d", n, maxClasses)
	}
	d.later = append(d.later, func() {
		if d.given["probing.classes"] == nil && classNamed(d.cfg.Classes, "be") == nil {
			v.problem("lacks be, which is probed by default: add be: 0, or set probing.classes")
		}
	})
}

// probingClasses reads the names of the classes to probe, and finds them once
// the whole file is read.
func (d *decoder) probingClasses(v value) {
	names := readList(v, text)
	if len(names) == 0 {
		if !d.bad[v.path] {
			v.problem("names no class: write [be]")
		}
		return
	}
	d.later = append(d.later, func() {
		d.cfg.Probing.Classes = nil
		for _, item := range v.list() {
			if d.bad[item.path] {
				continue
			}
			c := classNamed(d.cfg.Classes, item.n.Value)
			if c == nil {
				item.problem("%s", unknown("class "+show(item.n.Value), item.n.Value, classNames(d.cfg.Classes)))
				continue
			}
			d.cfg.Probing.Classes = append(d.cfg.Probing.Classes, *c)
		}
	})
}

func classNamed(cs []probe.Class, name string) *probe.Class {
	for i := range cs {
		if cs[i].Name == name {
			return &cs[i]
		}
	}
	return nil
}

func classNames(cs []probe.Class) []string {
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = c.Name
	}
	return names
}

const day = 24 * time.Hour
