package collector

// Loss by direction without synchronised clocks. Replies carry how many probes
// of the session the reflector had received (rx) and answered (tx), this one
// included. Between two replies a and b, in the order of tx, with M probes in
// between that nothing was heard of:
//
//	reverse = (tx_b - tx_a) - replies seen
//	refused = (rx_b - rx_a) - (tx_b - tx_a)
//	forward = M - reverse - refused
//
// The second equals ΔS_TxC − ΔR_RxC, since whatever was sent and reached neither
// the reflector nor an ICMP error is in M.
//
// Reordering bends this unless b is clean: its tx above all before it, and no
// later probe answered before it. Until a clean reply comes, nothing is decided.
type direction struct {
	pending *pendingLosses // nil: none so far, as with most flows
	base    counters       // of the last clean reply; kind noCounters: none yet
	maxTx   uint32         // highest tx settled
	seen    uint32         // replies settled since the base; decided reverse losses count too
	refused uint32         // refused probes already decided since the base
	lead    int32          // rx beyond the probes sent, at the base; 0 or less in a session of our own
	kind    counterKind    // of the session's replies so far
	torn    bool           // something since the base was given up as unsplit: only rebase
	suspect bool           // the last clean reply was above lead
	proved  bool           // a reply number differed from the sender's: the reflector counts
}

// pendingLoss is how many probes of one window await a decision.
type pendingLoss struct{ win, n uint32 }

// pendingLosses are those of a flow, of a few windows.
type pendingLosses struct {
	of    [4]pendingLoss
	total uint32 // their sum
}

// total is how many probes await a decision.
func (d *direction) total() uint32 {
	if d.pending == nil {
		return 0
	}
	return d.pending.total
}

// verdict is how many pending probes ended in which way.
type verdict struct{ forward, reverse, refused uint32 }

// lose adds one probe that nothing was heard of; it returns the window of one
// that has to be given up as unsplit since the table is full.
func (d *direction) lose(win uint32) (given pendingLoss) {
	if d.pending == nil {
		d.pending = &pendingLosses{}
	}
	all, slot := d.pending, -1
	for i := range all.of {
		if p := &all.of[i]; p.n > 0 && p.win == win {
			slot = i
			break
		} else if p.n == 0 && slot < 0 {
			slot = i
		}
	}
	if slot < 0 {
		slot = 0
		given = d.giveUp(all.of[0].win)
	}
	all.of[slot].win = win
	all.of[slot].n++
	all.total++
	return given
}

// giveUp removes the pending probes of a window: they are unsplit.
func (d *direction) giveUp(win uint32) pendingLoss {
	if d.total() == 0 {
		return pendingLoss{}
	}
	for i := range d.pending.of {
		if p := d.pending.of[i]; p.n > 0 && p.win == win {
			d.pending.of[i].n = 0
			d.pending.total -= p.n
			d.torn = true
			return p
		}
	}
	return pendingLoss{}
}

// comparable says whether counters of kind k can be held against the base.
func (d *direction) comparable(k counterKind) bool {
	return k != noCounters && k == d.base.kind && !d.torn && (k == byTLV || d.proved)
}

// decide judges the pending probes by a clean reply with counters c. Before it
// came extra replies beyond those settled, and open probes that may still be
// answered. ok is false if the counters contradict what was sent (evicted,
// restarted, duplicated), or if open probes leave it undecided.
func (d *direction) decide(c counters, extra, open uint32) (v verdict, ok bool) {
	if !d.comparable(c.kind) {
		return verdict{}, false
	}
	dtx, drx := int64(int32(c.tx-d.base.tx)), int64(int32(c.rx-d.base.rx))
	all := int64(d.total()) + int64(open)
	reverse := dtx - int64(d.seen) - int64(extra)
	refused := drx - dtx - int64(d.refused)
	forward := all - reverse - refused
	if dtx <= 0 || reverse < 0 || refused < 0 || forward < 0 {
		return verdict{}, false
	}
	switch {
	case open == 0:
		return verdict{uint32(forward), uint32(reverse), uint32(refused)}, true
	case forward == all:
		return verdict{forward: d.total()}, true
	case reverse == all:
		return verdict{reverse: d.total()}, true
	case refused == all:
		return verdict{refused: d.total()}, true
	}
	return verdict{}, false
}

// spend takes a decided verdict off the pending probes, oldest first, and calls
// each with a window and its share. Which of the probes between two replies
// went which way is not known, only how many: the forward ones are taken first.
func (d *direction) spend(v verdict, each func(win uint32, v verdict)) {
	d.seen += v.reverse
	d.refused += v.refused
	for d.total() > 0 {
		oldest := -1
		for i := range d.pending.of {
			if p := d.pending.of[i]; p.n > 0 && (oldest < 0 || int32(p.win-d.pending.of[oldest].win) < 0) {
				oldest = i
			}
		}
		p := &d.pending.of[oldest]
		share := verdict{forward: min(v.forward, p.n)}
		share.refused = min(v.refused, p.n-share.forward)
		share.reverse = min(v.reverse, p.n-share.forward-share.refused)
		v.forward -= share.forward
		v.refused -= share.refused
		v.reverse -= share.reverse
		d.pending.total -= p.n
		p.n = 0
		each(p.win, share)
	}
}

// rebase makes the clean reply to probe seq the new base.
//
// The reflector cannot have received more of a session than was sent: losses only
// lower rx against the number sent. If it is higher than at the last base, then
// a later probe came first and its own answer was lost, so that this reply counts
// a probe that belongs to the next gap; or the session is older than we are, or a
// duplicate's answer was lost. The first does not last; the others do, and are
// taken for the measure from the second time on.
func (d *direction) rebase(c counters, seq uint32) {
	d.base = c
	d.seen, d.refused = 0, 0
	lead := int32(c.rx - (seq + 1))
	switch {
	case lead <= d.lead:
		d.lead, d.torn, d.suspect = lead, false, false
	case d.suspect:
		d.lead, d.torn, d.suspect = lead, true, false
	default:
		d.torn, d.suspect = true, true
	}
}

// ahead says whether number a comes after number b, across the wrap at 2^32.
func ahead(a, b uint32) bool { return int32(a-b) > 0 }
