package collector

// lender lends slots to flows of which one probe at the most is in flight: most of half a
// million flows have none, and what is remembered is as much as what was sent within Late.
type lender struct{ free []*slot }

const slotsAtOnce = 512

func (p *lender) take() *slot {
	if len(p.free) == 0 {
		slots := make([]slot, slotsAtOnce)
		for i := range slots {
			p.free = append(p.free, &slots[i])
		}
	}
	s := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	return s
}

// slot returns where a probe that is held is remembered: a ring, by its number.
func (f *flow) slot(seq uint32) *slot {
	p := f.path
	if p.lent != nil {
		return p.lent[f.index]
	}
	return &p.slots[uint32(f.index)*p.inFlight+seq%p.inFlight]
}

// newSlot returns the slot of the flow's next probe.
func (l *loop) newSlot(f *flow) *slot {
	if lent := f.path.lent; lent != nil && lent[f.index] == nil {
		lent[f.index] = l.lender.take()
	}
	return f.slot(f.next)
}

// returnSlot takes back the slot of a flow that has nothing in flight.
func (l *loop) returnSlot(f *flow) {
	if lent := f.path.lent; lent != nil && lent[f.index] != nil && f.tail == f.next {
		l.lender.free = append(l.lender.free, lent[f.index])
		lent[f.index] = nil
	}
}

// settleLent ends probes as soon as they can be, in the order in which they left, so that
// their slots can be lent again. Other flows wait for their next turn.
func (l *loop) settleLent() {
	s := &l.schedule
	for s.settled != s.at {
		f := s.flows[s.settled]
		if f.path.lent == nil {
			return // the interval is the same for all
		}
		l.settle(f, l.drained)
		if f.tail != f.next {
			return
		}
		if s.settled++; s.settled == len(s.flows) {
			s.settled = 0
		}
	}
}
