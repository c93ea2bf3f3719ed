package collector

import (
	"log/slog"
	"slices"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// An event goes from the loop to the reporter: a window's end was reached
// (boundary), or its last probe was forgotten and its counts are final.
type event struct {
	boundary bool
	num      uint32
	span     span
	paths    []*pathWindow
}

// A reporter merges flows into lines outside the loop, which must not wait.
type reporter struct {
	emit      func(*probe.Window)
	all       bool    // every flow's detail
	slow      float64 // factor above which a flow is slow; 0: none is
	most      int     // details a window; 0: no limit
	stats     *stats
	cutLogged time.Time
	drops     *hostDrops
	grown     map[uint32]growth // by window, until it is written
	log       *slog.Logger
	logged    [numReasons]time.Time
	logEach   time.Duration
}

func (r *reporter) run(events <-chan event) {
	for e := range events {
		if e.boundary {
			r.grown[e.num] = r.drops.sample()
			continue
		}
		r.emit(r.window(&e))
		delete(r.grown, e.num)
		for _, w := range e.paths {
			w.reset()
			w.path.spare.Store(w)
		}
	}
}

func (r *reporter) window(e *event) *probe.Window {
	w := &probe.Window{Start: e.span.start, End: e.span.label, Paths: make([]probe.Path, 0, len(e.paths))}
	parts := make(map[series][]*pathWindow, len(e.paths))
	order := make([]series, 0, len(e.paths))
	for _, pw := range e.paths {
		if !pw.due() {
			continue
		}
		s := seriesOf(pw)
		if parts[s] == nil {
			order = append(order, s)
		}
		parts[s] = append(parts[s], pw)
	}
	ordered := make([][]*pathWindow, 0, len(order))
	for _, s := range order {
		p := r.path(parts[s])
		ordered = append(ordered, parts[s])
		for _, pw := range parts[s] { // of the host, not of either part
			p.HostDrops = max(p.HostDrops, r.grown[e.num].of(pw.route.ifIndex))
		}
		r.logNotSent(&p)
		w.Paths = append(w.Paths, p)
	}
	r.details(w.Paths, ordered)
	return w
}

// series is what makes a line's tags: two points of one window never share it.
type series struct {
	dst, class string
	family     int
	clock      probe.Clock
}

func seriesOf(w *pathWindow) series {
	return series{dst: w.target.Name, class: w.path.key.class.Name, family: w.path.family(), clock: w.clock}
}

// due says whether any probe of the path was, in that window.
func (w *pathWindow) due() bool {
	for i := range w.flows {
		if w.flows[i].sent > 0 {
			return true
		}
	}
	for i := range w.rests {
		if w.rests[i].notSent > 0 {
			return true
		}
	}
	return false
}

// path makes one line of its parts: the groups of source ports, where they rotate,
// and paths that left the plan within the window, which come last.
func (r *reporter) path(parts []*pathWindow) probe.Path {
	first := parts[0]
	p := probe.Path{
		Dst: first.target.Name, DstTags: first.target.Tags, Family: first.path.family(), Addr: first.path.key.addr,
		SrcAddr: first.route.source, Class: first.path.key.class, Clock: first.clock, EqualPaths: first.target.Paths,
	}
	var common [4]commonest
	var notSent [numReasons]uint64
	var jitter, weight float64
	for _, w := range parts {
		before := p.RTT.Count()
		addFlows(&p, w, &common)
		if n := float64(p.RTT.Count() - before); w.jitter.OK && n > 0 {
			jitter, weight = jitter+n*w.jitter.Value, weight+n
		}
		p.Responder.Merge(&w.responder)
		p.SendLate.Merge(&w.sendLate)
		w.oneWay.addTo(&p)
		for i, n := range w.notSent {
			notSent[i] += n
		}
		for _, z := range w.sizes {
			addSize(&p, z)
		}
	}
	if weight > 0 {
		p.Jitter = probe.Some(jitter / weight)
	}
	for i, n := range notSent {
		if n > 0 {
			p.NotSentBy = append(p.NotSentBy, probe.Reason{Name: reasonNames[i], Count: n})
		}
	}
	p.HopsForward, p.HopsReverse = common[0].value(), common[1].value()
	p.DSCPForward, p.DSCPReverse = common[2].value(), common[3].value()
	return p
}

func addFlows(p *probe.Path, w *pathWindow, common *[4]commonest) {
	w.rtts.addTo(&p.RTT)
	for i := range w.flows {
		f, c := &w.flows[i], w.counts(i)
		p.Counts.Add(&c)
		if c.Sent > 0 {
			p.Flows++
		}
		if c.Received > 0 {
			p.FlowsAnswered++
		}
		if c.Lost > 0 {
			p.FlowsLossy++
		}
		if w.changed(i) {
			p.FlowsPathChanged++
		}
		if f.remarked(w.path.key.class.DSCP) {
			p.FlowsRemarked++
		}
		m := f.marks
		for j, v := range [4]uint8{m.hopsForward, m.hopsReverse, m.dscpForward, m.dscpReverse} {
			common[j].add(v, c.Received)
		}
	}
}

// addSize keeps sizes ascending.
func addSize(p *probe.Path, z probe.SizeCount) {
	i, found := slices.BinarySearchFunc(p.Sizes, z.Size, func(c probe.SizeCount, size int) int { return c.Size - size })
	if !found {
		p.Sizes = slices.Insert(p.Sizes, i, probe.SizeCount{Size: z.Size})
	}
	p.Sizes[i].Sent += z.Sent
	p.Sizes[i].Received += z.Received
}

// addFlow adds a flow's detail; a session that began anew is the same flow.
func addFlow(p *probe.Path, f probe.Flow) {
	for i := range p.FlowDetail {
		if mine := &p.FlowDetail[i]; mine.SrcPort == f.SrcPort {
			mine.Counts.Add(&f.Counts)
			mine.RTT.Merge(&f.RTT)
			return
		}
	}
	p.FlowDetail = append(p.FlowDetail, f)
}

func (w *pathWindow) flow(i int) probe.Flow {
	f := &w.flows[i]
	var rtt probe.Hist
	rtt.Merge(w.rtts.of(i, &probe.Hist{})) // the window's own is used again
	return probe.Flow{
		SrcPort: w.path.flows[i].sock.port, Counts: w.counts(i), RTT: rtt,
		HopsForward: known(f.marks.hopsForward), HopsReverse: known(f.marks.hopsReverse),
		DSCPForward: known(f.marks.dscpForward), DSCPReverse: known(f.marks.dscpReverse),
	}
}

// remarked says whether the class was changed on the way there or back.
func (f *flowWindow) remarked(dscp uint8) bool {
	other := func(v uint8) bool { return v != unknown && v != dscp }
	return other(f.marks.dscpForward) || other(f.marks.dscpReverse)
}

func known(v uint8) probe.Opt {
	if v == unknown {
		return probe.Opt{}
	}
	return probe.Some(float64(v))
}

// commonest finds the value that most probes had.
type commonest [256]uint64

func (c *commonest) add(v uint8, n uint64) { c[v] += n }

func (c *commonest) value() probe.Opt {
	best := -1
	for v, n := range c[:unknown] {
		if n > 0 && (best < 0 || n > c[best]) {
			best = v
		}
	}
	if best < 0 {
		return probe.Opt{}
	}
	return probe.Some(float64(best))
}

// logNotSent says once in a while why probes do not leave, and what mends it.
func (r *reporter) logNotSent(p *probe.Path) {
	for _, why := range p.NotSentBy {
		for i, name := range reasonNames {
			if name != why.Name || time.Since(r.logged[i]) < r.logEach {
				continue
			}
			r.logged[i] = time.Now()
			r.log.Warn("probes not sent", "reason", name, "count", why.Count, "target", p.Dst,
				"class", p.Class.Name, "mend", reasonMends[i])
		}
	}
}
