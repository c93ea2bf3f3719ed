package collector

import (
	"log/slog"
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
	emit    func(*probe.Window)
	all     bool // every flow's detail
	drops   *hostDrops
	grown   map[uint32]growth // by window, until it is written
	log     *slog.Logger
	logged  [numReasons]time.Time
	logEach time.Duration
}

func (r *reporter) run(events <-chan event) {
	for e := range events {
		if e.boundary {
			r.grown[e.num] = r.drops.sample()
			continue
		}
		r.emit(r.window(&e))
		delete(r.grown, e.num)
	}
}

func (r *reporter) window(e *event) *probe.Window {
	w := &probe.Window{Start: e.span.start, End: e.span.label, Paths: make([]probe.Path, 0, len(e.paths))}
	at := make(map[series]int, len(e.paths))
	for _, pw := range e.paths {
		p := r.path(pw)
		if p.Sent == 0 && p.NotSent == 0 {
			continue
		}
		p.HostDrops = r.grown[e.num].of(pw.route.ifIndex)
		r.logNotSent(&p)
		// Paths that left the plan come last.
		if i, again := at[seriesOf(&p)]; again {
			merge(&w.Paths[i], &p)
			continue
		}
		at[seriesOf(&p)] = len(w.Paths)
		w.Paths = append(w.Paths, p)
	}
	return w
}

func (r *reporter) path(w *pathWindow) probe.Path {
	p := probe.Path{
		Dst: w.target.Name, DstTags: w.target.Tags, Family: w.path.family(), Addr: w.path.key.addr,
		SrcAddr: w.route.source, Class: w.path.key.class, Clock: w.clock,
		Responder: w.responder, SendLate: w.sendLate, Jitter: w.jitter, Sizes: w.sizes,
	}
	for i, n := range w.notSent {
		if n > 0 {
			p.NotSentBy = append(p.NotSentBy, probe.Reason{Name: reasonNames[i], Count: n})
		}
	}
	var common [4]commonest
	for i := range w.flows {
		f := &w.flows[i]
		p.Counts.Add(&f.Counts)
		p.RTT.Merge(&f.rtt)
		if f.Sent > 0 {
			p.Flows++
		}
		if f.Lost > 0 {
			p.FlowsLossy++
		}
		if f.changed {
			p.FlowsPathChanged++
		}
		if f.remarked(w.path.key.class.DSCP) {
			p.FlowsRemarked++
		}
		m := f.marks
		for j, v := range [4]uint8{m.hopsForward, m.hopsReverse, m.dscpForward, m.dscpReverse} {
			common[j].add(v, f.Received)
		}
		if f.Lost > 0 || r.all {
			p.FlowDetail = append(p.FlowDetail, w.flow(i))
		}
	}
	p.HopsForward, p.HopsReverse = common[0].value(), common[1].value()
	p.DSCPForward, p.DSCPReverse = common[2].value(), common[3].value()
	return p
}

func (w *pathWindow) flow(i int) probe.Flow {
	f := &w.flows[i]
	return probe.Flow{
		SrcPort: w.path.flows[i].sock.port, Counts: f.Counts, RTT: f.rtt,
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
