package collector

import "github.com/llama-agent/llama-agent/internal/probe"

// settle ends the flow's probes that were sent Late or more before upTo: the
// sockets were empty at that time, so nothing of theirs is still unread.
func (l *loop) settle(f *flow, upTo int64) {
	for f.tail != f.next {
		s := f.slot(f.tail)
		if s.sent+l.late > upTo {
			return
		}
		if f.path.sweep == nil {
			l.end(f, s)
		} else {
			l.endSwept(f, s)
		}
		f.tail++
		l.returnSlot(f)
	}
}

// end counts one probe in the window it was sent in: the only place where a
// probe ends.
func (l *loop) end(f *flow, s *slot) {
	w := f.path.window(s.win)
	c := &w.flows[f.index]
	switch s.state {
	case slotNeverLeft:
		w.rest(f.index).notSent++
		w.notSent[reasonNoNeighbour]++
		l.reasons[reasonNoNeighbour].Add(1)
	case slotUnreachable:
		c.sent++
		w.rest(f.index).unreachable++
	case slotAnswered:
		c.sent++
		l.endAnswered(f, s, w, c)
		l.advance(f, s)
	case slotWaiting:
		l.waiting--
		switch dropped, neverLeft := l.missing(f, s); {
		case dropped:
			// The reply reached this host: for the direction it counts as seen.
			c.sent++
			w.rest(f.index).localDrop++
			f.dir.seen++
		case neverLeft:
			// The kernel took it and no device transmitted it: no carrier, no neighbour yet.
			w.rest(f.index).notSent++
			w.notSent[reasonNeverLeft]++
			l.reasons[reasonNeverLeft].Add(1)
		default:
			c.sent++
			l.giveUp(f, f.dir.lose(s.win))
		}
	}
}

// missing says what this host has to do with it that nothing was heard of a probe.
// In the kernel that is exact; at a socket drops are an upper bound. What a device
// or its queue dropped behind the program, a probe that was asked for its transmit
// stamp too can tell; such a stamp also tells of one that left by another way.
func (l *loop) missing(f *flow, s *slot) (dropped, neverLeft bool) {
	if s.is(slotKernel) {
		switch l.fate(f, s) {
		case probe.FateEventLost:
			return true, false
		case probe.FateNotSeen:
			if s.t1 == 0 && f.stamped {
				return false, true
			}
			f.stamped = false // it left, past the program
		case probe.FateSent:
			if s.t1 == 0 && s.is(slotAsked) && f.path.route.stamps {
				return false, true
			}
			if f.stamped && f.row >= 0 { // its reply would have been taken before the socket
				return false, false
			}
		}
	}
	dropped = l.claimDrop(f.sock)
	return dropped, !dropped && !s.is(slotKernel) && s.t1 == 0 && f.stamped
}

func (l *loop) endAnswered(f *flow, s *slot, w *pathWindow, c *flowWindow) {
	f.stamped = s.t1 != 0 && s.is(slotCaptured) == s.is(slotKernel) // on another route the device may not stamp
	if s.dups > 0 {
		w.rest(f.index).duplicate += uint32(s.dups)
	}
	if s.is(slotReordered) {
		w.rest(f.index).reordered++
	}
	w.take(f, s.marks)
	elapsed, rtt, clock := l.times(f, s)
	if s.responder < 0 || s.responder > elapsed {
		l.stats.add(countBadStamps)
	} else {
		w.responder.Record(s.responder)
	}
	if elapsed > l.timeout {
		w.rest(f.index).late++
		return
	}
	c.received++
	left := s.sent
	if s.is(slotKernel) || !l.offset.stepWithin(s.sent, s.got) {
		left = max(left, s.t1)
	}
	w.sendLate.Record(left - s.due)
	if rtt < 0 {
		return
	}
	if w.clock != clock {
		if !w.rtts.empty() {
			return // series of different clocks never mix
		}
		w.clock = clock
	}
	f.path.clock = clock
	w.rtts.record(f.index, rtt)
	l.endOneWay(f, s, w, rtt)
	if f.lastRTT >= 0 {
		d := float64(max(rtt-f.lastRTT, f.lastRTT-rtt))
		f.path.jitter += (d - f.path.jitter) / 16
		w.jitter = probe.Some(f.path.jitter)
	}
	f.lastRTT = rtt
}

// times returns how long the reply took in all and, of it, the network's share
// (T4-T1)-(T3-T2), or -1 if the stamps cannot be held against each other.
func (l *loop) times(f *flow, s *slot) (elapsed, rtt int64, clock probe.Clock) {
	if s.is(slotKernel) {
		return kernelTimes(s)
	}
	t1, t4, clock := s.t1, s.t4, probe.ClockSocket
	if t1 == 0 || t4 == 0 {
		clock = probe.ClockUser
	}
	if t1 == 0 {
		t1 = s.sent
	}
	if t4 == 0 {
		t4 = s.got
	}
	elapsed = t4 - t1
	if l.offset.stepWithin(s.sent, s.got) {
		return max(0, s.got-s.sent), -1, clock
	}
	switch {
	case clock == probe.ClockUser && f.path.stamped:
		return elapsed, -1, clock // one stamp went missing; its path has the better clock
	case elapsed < 0 || s.responder < 0 || s.responder > elapsed:
		return max(0, elapsed), -1, clock
	}
	return elapsed, elapsed - s.responder, clock
}

// kernelTimes is times where the kernel was to measure. No wall clock is in it. A
// reply that came by the socket counts, but its stamp is of another clock than T1.
func kernelTimes(s *slot) (elapsed, rtt int64, clock probe.Clock) {
	if !s.is(slotCaptured) {
		at := s.t4
		if at == 0 {
			at = s.got
		}
		return max(0, at-s.sent), -1, probe.ClockKernel
	}
	elapsed = s.t4 - s.t1
	if elapsed < 0 || s.responder < 0 || s.responder > elapsed {
		return max(0, elapsed), -1, probe.ClockKernel
	}
	return elapsed, elapsed - s.responder, probe.ClockKernel
}

// take keeps what the packets carried on arrival, and whether the path's length changed.
func (w *pathWindow) take(f *flow, m marks) {
	changed := func(was, is uint8) bool { return was != unknown && is != unknown && was != is }
	if changed(f.marks.hopsForward, m.hopsForward) || changed(f.marks.hopsReverse, m.hopsReverse) {
		w.rest(f.index).changed = true
	}
	f.marks, w.flows[f.index].marks = m, m
}

// advance moves the flow's direction accounting over an answered probe.
func (l *loop) advance(f *flow, s *slot) {
	d, c := &f.dir, s.counters
	d.seen += 1 + uint32(s.extra)
	d.lead += int32(s.extra)
	if c.kind == noCounters {
		return
	}
	if c.kind != d.kind || int64(int32(d.maxTx-c.tx)) > int64(f.path.inFlight) {
		// The reflector has forgotten the session: reordering does not reach that far.
		l.giveUpAll(f)
		*d = direction{kind: c.kind, maxTx: c.tx, proved: d.proved, pending: d.pending}
	}
	if ahead(d.maxTx, c.tx) {
		return
	}
	d.maxTx = c.tx
	if d.base.kind == noCounters || d.torn {
		l.giveUpAll(f)
		if d.torn = true; f.clean(f.tail, c) {
			d.rebase(c, f.tail)
		}
		return
	}
	if d.total() == 0 && c.tx-d.base.tx == d.seen && c.rx-d.base.rx == d.seen+d.refused {
		d.rebase(c, f.tail)
		return
	}
	if !f.clean(f.tail, c) {
		return
	}
	v, ok := d.decide(c, 0, 0)
	if ok {
		l.spend(f, v)
	} else {
		l.giveUpAll(f)
	}
	d.rebase(c, f.tail)
	// What contradicts the probes before may belong to one behind: the gap up to
	// the next clean reply is not split either.
	d.torn = d.torn || !ok
}

// clean says whether no probe after seq was answered before counters c. Numbers
// further back than reordering reaches are those of a session begun anew.
func (f *flow) clean(seq uint32, c counters) bool {
	for n := seq + 1; n != f.next; n++ {
		s := f.slot(n)
		if s.state != slotAnswered || s.counters.kind != c.kind {
			continue
		}
		if back := int32(c.tx - s.counters.tx); back >= 0 && uint32(back) <= f.path.inFlight {
			return false
		}
	}
	return true
}

// closeWindow decides what can be decided of the flow's losses in span num, by
// replies to later probes if there are any, and gives up the rest as unsplit.
func (l *loop) closeWindow(f *flow, num uint32) {
	if f.dir.total() > 0 {
		l.lookAhead(f)
	}
	l.giveUp(f, f.dir.giveUp(num))
}

// lookAhead judges pending losses by the first clean reply among the probes
// that are not yet settled.
func (l *loop) lookAhead(f *flow) {
	maxTx, extra, open := f.dir.maxTx, uint32(0), uint32(0)
	for seq := f.tail; seq != f.next; seq++ {
		s := f.slot(seq)
		switch s.state {
		case slotWaiting:
			open++
		case slotAnswered:
			extra += 1 + uint32(s.extra)
			if s.counters.kind == noCounters || !ahead(s.counters.tx, maxTx) {
				continue
			}
			maxTx = s.counters.tx
			if !f.clean(seq, s.counters) {
				continue
			}
			if v, ok := f.dir.decide(s.counters, extra, open); ok {
				l.spend(f, v)
			}
			return
		}
	}
}

func (l *loop) spend(f *flow, v verdict) {
	f.dir.spend(v, func(win uint32, v verdict) {
		c := f.path.window(win).rest(f.index)
		c.lostForward += v.forward
		c.lostReverse += v.reverse
		c.refused += v.refused
	})
}

func (l *loop) giveUp(f *flow, p pendingLoss) {
	if p.n > 0 {
		f.path.window(p.win).rest(f.index).lostUnsplit += p.n
	}
}

func (l *loop) giveUpAll(f *flow) {
	if f.dir.total() > 0 {
		for _, p := range f.dir.pending.of {
			if p.n > 0 {
				l.giveUp(f, f.dir.giveUp(p.win))
			}
		}
	}
	f.dir.torn = false
}
