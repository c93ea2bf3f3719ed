package collector

import (
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// A span is one window of the clock: probes sent in it count in it.
type span struct {
	num                uint32
	startMono, endMono int64     // endMono is maxMono while no end is set
	last               int64     // monotonic ns, when a probe was last sent in it
	start, label       time.Time // label: the time of its lines
}

const maxMono = int64(1)<<62 - 1

// A pathWindow counts one path in one span; the loop fills it, then the reporter owns
// it, and leaves it in path.spare for a later span.
type pathWindow struct {
	num       uint32
	path      *path
	target    *probe.Target // as they were when the window was opened: the loop may
	route     route         // change the path's while the reporter reads these
	clock     probe.Clock
	notSent   [numReasons]uint64
	responder probe.Hist
	sendLate  probe.Hist
	jitter    probe.Opt
	flows     []flowWindow
	rests     []restCounts
	rtts      rtts
	sizes     []probe.SizeCount // of a path that is swept
	oneWay    *oneWayWindow     // nil: not wanted
}

// window returns the path's counts for span num, which it opens if need be.
func (p *path) window(num uint32) *pathWindow {
	for _, w := range p.windows {
		if w.num == num {
			return w
		}
	}
	w := p.spare.Swap(nil)
	if w == nil {
		w = &pathWindow{path: p, flows: make([]flowWindow, len(p.flows)), rtts: rtts{flows: len(p.flows)}, sizes: p.sweep.newSizes(), oneWay: p.newOneWay()}
		w.reset()
	}
	w.num, w.target, w.route, w.clock = num, p.target, p.route, p.clock
	p.windows = append(p.windows, w)
	return w
}

// reset empties a window, and keeps its memory.
func (w *pathWindow) reset() {
	for i := range w.flows {
		w.flows[i] = flowWindow{marks: noMarks}
	}
	w.notSent = [numReasons]uint64{}
	w.jitter = probe.Opt{}
	w.rests = w.rests[:0]
	w.rtts.reset()
	w.responder.Reset()
	w.sendLate.Reset()
	for i := range w.sizes {
		w.sizes[i].Sent, w.sizes[i].Received = 0, 0
	}
	w.oneWay.reset()
}

// takeWindow removes and returns the path's counts for span num; nil if it has none.
func (p *path) takeWindow(num uint32) *pathWindow {
	for i, w := range p.windows {
		if w.num == num {
			p.windows = append(p.windows[:i], p.windows[i+1:]...)
			return w
		}
	}
	return nil
}

// spans follows the clock: one open span, and those that wait for their last
// probe to be forgotten.
type spans struct {
	length time.Duration // 0: one span from start to stop
	all    []span        // ascending; the last one is open
	back   time.Duration // ns: how often the clock stepped back
}

func (s *spans) open() *span { return &s.all[len(s.all)-1] }

// begin opens the span that wall and mono fall in.
func (s *spans) begin(wall, mono int64) {
	now := time.Unix(0, wall)
	sp := span{startMono: mono, endMono: maxMono, start: now}
	if n := len(s.all); n > 0 {
		sp.num = s.all[n-1].num + 1
	}
	if s.length > 0 {
		// Aligned to the zero time, as InfluxDB's GROUP BY time() is to the epoch:
		// both fall on whole seconds, minutes, hours and days of UTC.
		end := now.Truncate(s.length).Add(s.length)
		if n := len(s.all); n > 0 && s.unique(end).Equal(s.all[n-1].label) {
			end = end.Add(s.length) // the clocks were read a little apart: it is over already
		}
		sp.endMono = mono + int64(end.Sub(now))
		sp.label = s.unique(end)
	}
	s.all = append(s.all, sp)
}

// cut ends the open span ahead of its time: at a clock step, or at the stop. Its
// label is then not aligned, so that it differs from the one that a restarted
// agent gives to the rest of the window.
func (s *spans) cut(wall, mono int64) {
	sp := s.open()
	sp.endMono, sp.label = mono, s.unique(time.Unix(0, wall))
}

// unique moves a label by a nanosecond for each time the clock stepped back, so
// that hours that come twice give points that do not share a time.
func (s *spans) unique(t time.Time) time.Time { return t.Add(s.back) }
