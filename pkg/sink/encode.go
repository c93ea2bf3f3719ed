package sink

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// Measurements.
const (
	MeasurementPath  = "llama_path"
	MeasurementFlow  = "llama_flow"
	MeasurementSize  = "llama_size"
	MeasurementAgent = "llama_agent"
)

// EncoderOptions are the choices an [Encoder] leaves open.
type EncoderOptions struct {
	Flows bool         // llama_flow lines for what is in Path.FlowDetail
	Log   *slog.Logger // nil: slog.Default
}

// EncoderStats counts what an [Encoder] wrote and what it would not write.
type EncoderStats struct {
	Lines         uint64
	Withheld      uint64 // lines whose counts contradict each other or that have no usable identity
	TagsSanitised uint64 // tag keys and values written in an altered form
	TagsDropped   uint64 // tags left out
	FieldsInvalid uint64 // fields left out: not a number, or a name that is none
}

// Encoder turns windows into line protocol. It is safe for concurrent use.
type Encoder struct {
	host  probe.Host
	flows bool
	log   *slog.Logger
	now   func() time.Time

	withheldLog limiter

	mu    sync.Mutex // protects the fields below
	lp    lineprotocol.Encoder
	tags  tagSet
	stats EncoderStats
	first error // the first reason in this call for which a line was withheld
}

// NewEncoder returns an encoder whose lines carry host as their source.
func NewEncoder(host probe.Host, o EncoderOptions) *Encoder {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Encoder{
		host: host, flows: o.Flows, log: o.Log, now: time.Now,
		tags:        newTagSet(),
		withheldLog: limiter{every: time.Minute},
	}
}

// Window appends the lines of w to dst. A line that would not be true, because
// its counts contradict each other, is withheld and counted; the error tells of the
// first of them, and all other lines are in out nevertheless.
func (e *Encoder) Window(dst []byte, w *probe.Window) (out []byte, lines int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.End.IsZero() { // the library would write lines without a time
		return dst, 0, fmt.Errorf("encode window: it has no end")
	}
	before := e.begin(dst)
	for i := range w.Paths {
		p := &w.Paths[i]
		if !e.path(p, w.End) {
			continue
		}
		for j := range p.Sizes {
			e.size(p, &p.Sizes[j], w.End)
		}
		if e.flows {
			for j := range p.FlowDetail {
				e.flow(p, &p.FlowDetail[j], w.End)
			}
		}
	}
	return e.finish(before)
}

// Stats returns the counters so far.
func (e *Encoder) Stats() EncoderStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.TagsSanitised, s.TagsDropped = e.tags.sanitised, e.tags.dropped
	return s
}

func (e *Encoder) begin(dst []byte) (before EncoderStats) {
	e.lp.SetBuffer(dst)
	e.first = nil
	return e.stats
}

func (e *Encoder) finish(before EncoderStats) (out []byte, lines int, err error) {
	out = e.lp.Bytes()
	e.lp.SetBuffer(nil) // the buffer is the caller's
	lines = int(e.stats.Lines - before.Lines)
	n := e.stats.Withheld - before.Withheld
	if n == 0 {
		return out, lines, nil
	}
	if held, ok := e.withheldLog.allow(e.now()); ok {
		e.log.Error("lines withheld", "lines", n, "first", e.first, "similar_not_logged", held)
	}
	return out, lines, fmt.Errorf("encode: %d lines withheld, the first: %w", n, e.first)
}

// path writes one llama_path line and leaves its tags in e.tags.
func (e *Encoder) path(p *probe.Path, at time.Time) bool {
	if err := p.Check(); err != nil {
		return e.withhold("path to %q, class %q: %w", p.Dst, p.Class.Name, err)
	}
	if !e.pathTags(p) {
		return e.withhold("path to %q, family %d, class %q, clock %q: its tags do not name a series",
			p.Dst, p.Family, p.Class.Name, p.Clock)
	}
	e.start(MeasurementPath)
	e.counts(&p.Counts, p.HostDrops)
	if p.Clock != probe.ClockMixed {
		e.distribution(&p.RTT)
		e.micros("jitter_us", p.Jitter)
		e.p99("responder_p99_us", &p.Responder)
		e.p99("send_late_p99_us", &p.SendLate)
		e.oneWay(p.OneWay)
	}
	e.marks(p.HopsForward, p.HopsReverse, p.DSCPForward, p.DSCPReverse)
	e.integer("flows", int64(p.Flows))
	e.integer("flows_lossy", int64(p.FlowsLossy))
	e.integer("flows_path_changed", int64(p.FlowsPathChanged))
	e.integer("flows_remarked", int64(p.FlowsRemarked))
	if covered := p.Coverage(); covered.OK {
		e.float("path_coverage", covered.Value)
	}
	passed, sent := p.SizeMax()
	e.whole("size_max", passed)
	e.whole("size_max_sent", sent)
	return e.end(at)
}

// size writes one llama_size line of path p.
func (e *Encoder) size(p *probe.Path, z *probe.SizeCount, at time.Time) {
	e.pathTags(p)                                         // its line was written, so that its tags are good
	e.tags.identity(tagSize, e.tags.port(uint16(z.Size))) // no packet is longer than a port is high
	e.start(MeasurementSize)
	e.count("sent", z.Sent)
	e.count("received", z.Received)
	e.end(at)
}

// flow writes one llama_flow line of path p. What the host dropped is known of
// the host as a whole, so that a flow's line carries the same figure as its path's.
func (e *Encoder) flow(p *probe.Path, f *probe.Flow, at time.Time) {
	if err := f.Check(); err != nil {
		e.withhold("flow to %q, class %q, source port %d: %w", p.Dst, p.Class.Name, f.SrcPort, err)
		return
	}
	e.flowTags(p, f)
	e.start(MeasurementFlow)
	e.counts(&f.Counts, p.HostDrops)
	if p.Clock != probe.ClockMixed {
		e.distribution(&f.RTT)
	}
	e.marks(f.HopsForward, f.HopsReverse, f.DSCPForward, f.DSCPReverse)
	e.end(at)
}

func (e *Encoder) withhold(format string, args ...any) bool {
	e.stats.Withheld++
	if e.first == nil {
		e.first = fmt.Errorf(format, args...)
	}
	return false
}
