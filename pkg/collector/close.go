package collector

import (
	"cmp"
	"slices"
)

// A closer walks all flows for the oldest window, a part at a time, so that the
// sends keep their times.
type closer struct {
	active bool
	paths  []*path
	at     int // path whose turn it is
}

// flowsAStep bounds one step to well below a millisecond; a path is never cut.
const flowsAStep = 2048

// closeWindows hands over the oldest window once all its probes can be forgotten.
func (l *loop) closeWindows() {
	sp := &l.spans.all[0]
	if sp.endMono == maxMono || l.drained < max(sp.endMono, sp.last)+l.late && l.drained != maxMono {
		return
	}
	c := &l.closing
	if !c.active {
		*c = closer{active: true, paths: slices.Grow(c.paths[:0], len(l.paths)+len(l.retiring))}
		for _, p := range l.paths {
			c.paths = append(c.paths, p)
		}
		slices.SortFunc(c.paths, func(a, b *path) int { return cmp.Compare(a.order, b.order) })
		c.paths = append(c.paths, l.retiring...)
	}
	for n := 0; c.at < len(c.paths); c.at++ {
		if n >= flowsAStep {
			return
		}
		flows := c.paths[c.at].flows
		n += len(flows)
		for i := range flows {
			l.settle(&flows[i], l.drained)
			l.closeWindow(&flows[i], sp.num)
		}
	}
	c.active = false
	done := event{span: *sp, num: sp.num, paths: make([]*pathWindow, 0, len(c.paths))}
	for _, p := range c.paths {
		if w := p.takeWindow(sp.num); w != nil {
			done.paths = append(done.paths, w)
		}
	}
	clear(c.paths) // of those that are let go
	l.spans.all = l.spans.all[1:]
	l.reports <- done
	l.reap()
}

// reap lets go of paths that left the plan once nothing of theirs is open.
func (l *loop) reap() {
	kept := l.retiring[:0]
	for _, p := range l.retiring {
		open := len(p.windows) > 0
		for i := range p.flows {
			open = open || p.flows[i].tail != p.flows[i].next || p.flows[i].dir.total() > 0
		}
		if open {
			kept = append(kept, p)
			continue
		}
		l.forget(p)
	}
	clear(l.retiring[len(kept):])
	l.retiring = kept
}
