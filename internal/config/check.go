package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// finding takes one thing found: where it may be shown, the likeliest place
// first, and what it depends on.
type finding func(warn bool, text string, paths ...string)

func (f finding) error(paths []string, format string, args ...any) {
	f(false, fmt.Sprintf(format, args...), paths...)
}

func (f finding) warn(paths []string, format string, args ...any) {
	f(true, fmt.Sprintf(format, args...), paths...)
}

func at(paths ...string) []string { return paths }

// check judges values that depend on each other.
func (c *Config) check(e env, report finding) {
	c.checkTiming(report)
	c.checkSourcePorts(e, report)
	c.checkPortCount(report)
	inUse := c.Probing.Ports
	for i := range c.Targets {
		inUse = max(inUse, c.Probing.portsOf(&c.Targets[i]))
	}
	c.checkRotation(report, inUse)
	c.checkSizes(report)
	c.checkRates(report)
	c.checkSource(report)
	c.checkEmit(report)
	c.checkTargets(e, report)
	c.checkLegacy(report)
	c.checkAPI(report)
}

// maxRefusePorts is less than the kernel has room for, beside the ports that are listened on.
const maxRefusePorts = 32

func (c *Config) checkLegacy(report finding) {
	r := &c.Reflector
	onLegacy := slices.ContainsFunc(r.Listen, func(a netip.AddrPort) bool { return a.Port() == LegacyPort })
	switch {
	case r.Legacy && onLegacy:
		report.error(at("reflector.listen", "reflector.legacy"), "port %d is for the probes of Dropbox's LLAMA (legacy: true): one of the two", LegacyPort)
	case r.Legacy && len(r.Listen) == 0:
		report.warn(at("reflector.legacy"), "true has no effect without a reflector (reflector.listen: [])")
	}
	if n := len(r.RefusePorts); n > maxRefusePorts {
		report.error(at("reflector.refuse_ports"), "%d ports: at most %d", n, maxRefusePorts)
	}
}

// maxLateWindows bounds how many windows wait at once for their last replies.
const maxLateWindows = 30

func (c *Config) checkTiming(report finding) {
	t := c.Probing.Timing
	if t.Late <= t.Timeout {
		report.error(at("probing.late", "probing.timeout"),
			"late (%s) must be longer than timeout (%s)", short(t.Late), short(t.Timeout))
	}
	if most := maxLateWindows * t.Window; t.Window > 0 && t.Late > most {
		report.error(at("probing.late", "probing.window"),
			"late (%s) must not be longer than %d windows (%s): all of them are kept open", short(t.Late), maxLateWindows, short(most))
	}
	if t.Window > 0 && day%t.Window != 0 {
		below, above := divisors(t.Window)
		report.error(at("probing.window"), "%s does not divide a day: %s or %s would",
			short(t.Window), short(below), short(above))
	}
}

// divisors is the whole seconds next to w that divide a day.
func divisors(w time.Duration) (below, above time.Duration) {
	below = max(w.Truncate(time.Second), time.Second)
	for below > time.Second && day%below != 0 {
		below -= time.Second
	}
	above = below + time.Second
	for above < day && (above < w || day%above != 0) {
		above += time.Second
	}
	return below, above
}

func (c *Config) checkSourcePorts(e env, report finding) {
	const path = "probing.source_ports"
	r := c.Probing.SourcePorts
	var told []uint16
	for _, l := range c.Reflector.Listen {
		if r.Contains(l.Port()) && !slices.Contains(told, l.Port()) {
			told = append(told, l.Port())
			report.error(at(path, "reflector.listen"),
				"%s contains the reflector's port %d, which no probe may leave from", r, l.Port())
		}
	}
	if r.Contains(LegacyPort) && !slices.Contains(told, LegacyPort) {
		report.error(at(path), "%s contains %d, which reflectors refuse as a source port", r, LegacyPort)
	}
	if r.Overlaps(e.ephemeral) {
		report.warn(at(path), "%s overlaps this host's ephemeral ports %s: other programs may hold some of them", r, e.ephemeral)
	}
}

func (c *Config) checkPortCount(report finding) {
	p := &c.Probing
	if have := p.SourcePorts.Size(); p.Ports > have {
		report.error(at("probing.ports", "probing.source_ports"),
			"%d ports, and source_ports %s has %d", p.Ports, p.SourcePorts, have)
		return
	}
	for i := range c.Targets {
		c.checkPorts(report, &c.Targets[i])
	}
}

func (c *Config) checkPorts(report finding, t *probe.Target) {
	p := &c.Probing
	if need := p.portsOf(t); !t.SSID && need > p.SourcePorts.Size() {
		path := targetPath(t)
		report.error(at(path+".ssid", path, "probing.ports", "probing.source_ports", "probing.classes"),
			"without SSID each class takes ports of its own: %d ports x %d classes = %d, and source_ports %s has %d",
			p.Ports, len(p.Classes), need, p.SourcePorts, p.SourcePorts.Size())
	}
}

// portsOf is how many source ports a target takes.
func (p *Probing) portsOf(t *probe.Target) int {
	if t.SSID {
		return p.Ports
	}
	return p.Ports * len(p.Classes)
}

// checkRotation: ports that go must have others to make room for.
func (c *Config) checkRotation(report finding, inUse int) {
	p := &c.Probing
	if have := p.SourcePorts.Size(); p.Rotate > 0 && have == inUse {
		report.error(at("probing.rotate", "probing.source_ports", "probing.ports", "probing.classes", "targets"),
			"no port to rotate to: source_ports %s has %d, and all are in use", p.SourcePorts, have)
	}
}

func (c *Config) checkSizes(report finding) {
	if n := len(c.Probing.Sizes); n > maxSizes {
		report.error(at("probing.sizes"), "%d sizes: at most %d", n, maxSizes)
	}
}

// flows is how many flows a target makes. A name may have addresses of both families.
func (p *Probing) flows(t *probe.Target) int {
	n := p.Ports * len(p.Classes)
	if p.Family == FamilyBoth && !literal(t.Address).IsValid() {
		n *= 2
	}
	return n
}

func (c *Config) checkRates(report finding) {
	p := &c.Probing
	all, most := 0, 0
	for i := range c.Targets {
		n := p.flows(&c.Targets[i])
		all, most = all+n, max(most, n)
	}
	deps := []string{"probing.interval", "probing.ports", "probing.classes", "probing.family", "targets"}
	if !fits(most, p.Timing.Interval, p.MaxRatePerTarget) {
		report.error(append(at("probing.max_rate_per_target"), deps...), "%s",
			p.wouldFit("a target", "max_rate_per_target", most, p.MaxRatePerTarget))
	}
	if !fits(all, p.Timing.Interval, p.MaxRate) {
		report.error(append(at("probing.max_rate"), deps...), "%s",
			p.wouldFit("all targets", "max_rate", all, p.MaxRate))
	}
}

// fits tells whether flows probes every interval are at most rate a second.
// float64 is exact here as long as it matters: up to 2^53 on both sides.
func fits(flows int, interval time.Duration, rate int) bool {
	return float64(flows)*float64(time.Second) <= float64(rate)*float64(interval)
}

// wouldFit says what would bring flows probes every interval below a rate.
func (p *Probing) wouldFit(who, key string, flows, rate int) string {
	perSecond := math.Ceil(float64(flows) / p.Timing.Interval.Seconds())
	text := fmt.Sprintf("%s with %d flows, a probe every %s each: %.0f probes/s, above %s: %d; what would fit: ",
		who, flows, short(p.Timing.Interval), perSecond, key, rate)
	var mends []string
	ms := math.Ceil(float64(flows) * 1000 / float64(rate))
	if ms <= float64(maxInterval/time.Millisecond) {
		mends = append(mends, "interval: "+short(time.Duration(ms)*time.Millisecond))
	}
	perPort := flows / p.Ports
	if ports := int(float64(rate) * p.Timing.Interval.Seconds() / float64(perPort)); ports >= 1 {
		mends = append(mends, fmt.Sprintf("ports: %d", ports))
	}
	if perSecond <= maxRate {
		mends = append(mends, fmt.Sprintf("%s: %.0f", key, perSecond))
	}
	if len(mends) == 0 {
		return text + "fewer targets"
	}
	return text + strings.Join(mends, ", or ")
}

func (c *Config) checkSource(report finding) {
	for _, a := range c.Probing.Source {
		if !c.Probing.Family.takes(a) {
			report.error(at("probing.source", "probing.family"), "%s is not of family %s", a, c.Probing.Family)
		}
	}
}

// checkEmit: frames are sent only where the kernel says what became of them.
func (c *Config) checkEmit(report finding) {
	where := at("probing.emit", "datapath.mode", "reflector.listen")
	switch {
	case c.Probing.Emit != EmitPacket:
	case c.Datapath.Mode == "socket":
		report.warn(where, "packet has no effect with datapath.mode: socket: probes leave as frames only where the kernel measures")
	case len(c.Reflector.Listen) == 0:
		report.warn(where, "packet has no effect without a reflector (reflector.listen: []): nothing is measured in the kernel then")
	}
}

func (f Family) takes(a netip.Addr) bool {
	return !(f == Family4 && !a.Is4() || f == Family6 && a.Is4())
}

// place is where a target is, however its address is written.
type place struct {
	address string
	port    uint16
}

func placeOf(t *probe.Target) place {
	if a := literal(t.Address); a.IsValid() {
		return place{a.String(), t.Port}
	}
	return place{strings.ToLower(strings.TrimSuffix(t.Address, ".")), t.Port}
}

func (c *Config) checkTargets(e env, report finding) {
	first := make(map[place]string, len(c.Targets))
	for i := range c.Targets {
		t := &c.Targets[i]
		path := targetPath(t)
		where := at(path+".address", path)
		key := placeOf(t)
		if a := literal(t.Address); a.IsValid() {
			c.checkLiteral(e, report, a, where)
		}
		if name, again := first[key]; again {
			report.error(append(where, path+".port"), "%s port %d is the target %s already: remove one", show(t.Address), t.Port, show(name))
		} else {
			first[key] = t.Name
		}
		if c.Probing.SourcePorts.Contains(t.Port) {
			report.warn(at(path+".port", path, "probing.source_ports"),
				"%d is one of source_ports %s: its reflector refuses probes from that port", t.Port, c.Probing.SourcePorts)
		}
	}
}

// checkLiteral judges a target that needs no resolution. Whether a prefix is
// connected changes with the interfaces: that gives a warning and no error.
func (c *Config) checkLiteral(e env, report finding, a netip.Addr, where []string) {
	p := &c.Probing
	if !p.Family.takes(a) {
		report.error(append(where, "probing.family"), "%s is not of probing.family %s", a, p.Family)
	}
	where = append(slices.Clip(where), "probing.allow")
	switch {
	case p.Allow.Contains(a):
	case !p.Allow.Connected:
		report.error(where, "%s is outside probing.allow: add its prefix there", a)
	case !containsAddr(e.connected, a):
		report.warn(where, "%s is outside probing.allow, and is probed only while it is directly connected: add its prefix there", a)
	}
}

func targetPath(t *probe.Target) string { return "targets." + keyText(t.Name) }
