package sink

import (
	"math"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// countFields are the fields every line of counts has: a count is known, 0 included.
var countFields = [...]struct {
	name string
	of   func(*probe.Counts) uint64
}{
	{"sent", func(c *probe.Counts) uint64 { return c.Sent }},
	{"received", func(c *probe.Counts) uint64 { return c.Received }},
	{"late", func(c *probe.Counts) uint64 { return c.Late }},
	{"lost", func(c *probe.Counts) uint64 { return c.Lost }},
	{"lost_forward", func(c *probe.Counts) uint64 { return c.LostForward }},
	{"lost_reverse", func(c *probe.Counts) uint64 { return c.LostReverse }},
	{"lost_unsplit", func(c *probe.Counts) uint64 { return c.LostUnsplit }},
	{"refused", func(c *probe.Counts) uint64 { return c.Refused }},
	{"unreachable", func(c *probe.Counts) uint64 { return c.Unreachable }},
	{"local_drop", func(c *probe.Counts) uint64 { return c.LocalDrop }},
	{"not_sent", func(c *probe.Counts) uint64 { return c.NotSent }},
	{"duplicate", func(c *probe.Counts) uint64 { return c.Duplicate }},
	{"reordered", func(c *probe.Counts) uint64 { return c.Reordered }},
	{"corrupted", func(c *probe.Counts) uint64 { return c.Corrupted }},
}

// start begins a line with the tags collected.
func (e *Encoder) start(measurement string) {
	e.tags.sort()
	e.lp.StartLine(measurement)
	for _, t := range e.tags.tags {
		e.lp.AddTag(t.key, t.value)
	}
}

// end closes the line; what the library refused is taken back whole and counted.
func (e *Encoder) end(at time.Time) bool {
	e.lp.EndLine(at)
	if err := e.lp.Err(); err != nil {
		e.lp.ClearErr()
		return e.withhold("line: %w", err)
	}
	e.stats.Lines++
	return true
}

// pathTags collects the tags of p; false if they would not name a series.
func (e *Encoder) pathTags(p *probe.Path) bool {
	s := &e.tags
	s.tags = s.tags[:0]
	family := ""
	switch p.Family {
	case 4:
		family = "4"
	case 6:
		family = "6"
	}
	if !s.identity(tagSrc, e.host.Name) || !s.identity(tagDst, p.Dst) || !s.identity(tagFamily, family) ||
		!s.identity(tagClass, p.Class.Name) || !s.identity(tagClock, string(p.Clock)) {
		return false
	}
	s.prefixed("src_", e.host.Tags)
	s.prefixed("dst_", p.DstTags)
	return true
}

func (e *Encoder) flowTags(p *probe.Path, f *probe.Flow) {
	e.pathTags(p) // its line was written, so that its tags are good
	s := &e.tags
	if p.SrcAddr.IsValid() {
		s.identity(tagSrcAddr, s.addr(p.SrcAddr))
	}
	if p.Addr.IsValid() {
		s.identity(tagDstAddr, s.addr(p.Addr.Addr()))
		s.identity(tagDstPort, s.port(p.Addr.Port()))
	}
	s.identity(tagSrcPort, s.port(f.SrcPort))
}

func (e *Encoder) counts(c *probe.Counts, hostDrops uint64) {
	for i := range countFields {
		e.count(countFields[i].name, countFields[i].of(c))
	}
	e.count("host_drops", hostDrops)
	if ratio, ok := c.LossRatio(); ok {
		e.float("loss_ratio", ratio)
	}
}

func (e *Encoder) distribution(h *probe.Hist) {
	s, ok := h.Summary()
	if !ok {
		return
	}
	e.nanos("rtt_min_us", s.Min)
	e.nanos("rtt_mean_us", s.Mean)
	e.nanos("rtt_p50_us", s.P50)
	e.nanos("rtt_p90_us", s.P90)
	e.nanos("rtt_p99_us", s.P99)
	e.nanos("rtt_p999_us", s.P999)
	e.nanos("rtt_max_us", s.Max)
}

func (e *Encoder) p99(name string, h *probe.Hist) {
	if ns, ok := h.Quantile(0.99); ok {
		e.nanos(name, ns)
	}
}

func (e *Encoder) oneWay(w *probe.OneWay) {
	if w == nil {
		return
	}
	for _, d := range [...]struct {
		name string
		of   *probe.SignedHist
		q    float64
	}{
		{"owd_forward_p50_us", &w.Forward, 0.5}, {"owd_forward_p99_us", &w.Forward, 0.99},
		{"owd_reverse_p50_us", &w.Reverse, 0.5}, {"owd_reverse_p99_us", &w.Reverse, 0.99},
	} {
		if ns, ok := d.of.Quantile(d.q); ok {
			e.nanos(d.name, ns)
		}
	}
	e.nanos("owd_error_us", w.Error)
}

func (e *Encoder) marks(hopsForward, hopsReverse, dscpForward, dscpReverse probe.Opt) {
	e.whole("hops_forward", hopsForward)
	e.whole("hops_reverse", hopsReverse)
	e.whole("dscp_forward", dscpForward)
	e.whole("dscp_reverse", dscpReverse)
}

// micros writes an optional number of nanoseconds as microseconds.
func (e *Encoder) micros(name string, ns probe.Opt) {
	if ns.OK {
		e.nanos(name, ns.Value)
	}
}

// nanos writes ns as microseconds, to the nanosecond: no clock here is finer.
func (e *Encoder) nanos(name string, ns float64) { e.float(name, math.Round(ns)/1e3) }

func (e *Encoder) whole(name string, v probe.Opt) {
	switch r := math.Round(v.Value); {
	case !v.OK:
	case math.Abs(r) <= 1<<53:
		e.integer(name, int64(r))
	default: // not a number included
		e.stats.FieldsInvalid++
	}
}

func (e *Encoder) count(name string, v uint64) {
	e.lp.AddField(name, lineprotocol.IntValue(int64(min(v, math.MaxInt64))))
}

func (e *Encoder) integer(name string, v int64) {
	e.lp.AddField(name, lineprotocol.IntValue(v))
}

// float leaves out what is not a number: the format has no way to write it.
func (e *Encoder) float(name string, v float64) {
	value, ok := lineprotocol.FloatValue(v)
	if !ok {
		e.stats.FieldsInvalid++
		return
	}
	e.lp.AddField(name, value)
}
