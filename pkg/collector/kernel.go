package collector

import (
	"net/netip"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A Kernel stamps probes where they leave an interface, and takes their replies
// where they come in. What it does not take comes by the sockets, as without it.
// All methods but Covers are called by one goroutine.
type Kernel interface {
	// Covers says whether it does so for what goes by the interface.
	Covers(ifIndex int) bool
	// AddSocket makes known whose probes are ours; RemoveSocket comes before the close.
	AddSocket(fd int) error
	RemoveSocket(fd int) error
	// AddFlow makes a flow known that has at most so many probes in flight, and gives
	// it a row: its name below.
	AddFlow(to netip.AddrPort, sourcePort, ssid uint16, inFlight int) (row uint32, err error)
	RemoveFlow(row uint32, to netip.AddrPort, sourcePort, ssid uint16) error
	// Fate says what became of a probe that no reply came to.
	Fate(row, seq uint32, t1 uint64) probe.Fate
	// Read hands over what was taken since the last call, without waiting, and says
	// whether that was all.
	Read(func(*probe.Captured)) (all bool)
}

// enlist has the path's flows measured in the kernel: all of them, or none. Those
// that have to authenticate are not: only user space can tell a forged reply.
func (l *loop) enlist(p *path) {
	if l.kernel == nil || p.kernel == p.route.kernel || p.auth != nil {
		return
	}
	p.kernel = p.route.kernel
	if p.kernel {
		err := l.addRows(p)
		if err != nil && l.withdraw(p) { // what had the sessions before has made room
			if err = l.addRows(p); err != nil {
				l.withdraw(p)
			}
		}
		if err != nil {
			p.kernel = false
			l.sayFull(p, err)
		}
	}
	p.mark.TxStamp = !p.kernel
	if !p.kernel {
		return
	}
	p.clock = probe.ClockKernel
	for i := range p.flows {
		p.flows[i].stamped = true
	}
}

func (l *loop) sayFull(p *path, why error) {
	if !l.full {
		l.full = true
		l.log.Warn("flows are measured by their sockets", "target", p.target.Name, "why", why)
	}
}

// addRows makes those of the path's flows known to the kernel that are not, as far as there is room.
func (l *loop) addRows(p *path) error {
	for i := range p.flows {
		f := &p.flows[i]
		if f.row >= 0 {
			continue
		}
		row, err := l.kernel.AddFlow(p.key.addr, f.sock.port, p.key.ssid, int(p.inFlight))
		if err != nil {
			return err
		}
		f.row = int32(row)
		l.rows = append(l.rows, make([]*flow, max(0, int(row)+1-len(l.rows)))...)
		l.rows[row] = f
	}
	return nil
}

// withdraw leaves the replies of the path's sessions to the sockets. The kernel knows sessions, not paths: the row
// of a flow that left the plan would have it take what the flow that has its session now is sent. It says whether there
// were such.
func (l *loop) withdraw(p *path) (older bool) {
	var gone []*flow
	for i := range p.flows {
		for f := &p.flows[i]; f != nil; f = l.older[f] {
			if f.row < 0 {
				continue
			}
			l.noteFates(f)
			l.removeRow(f)
			gone = append(gone, f)
			older = older || f.path != p
		}
	}
	for range maxRounds { // what was taken until now is read by its row
		if l.readCaptured() {
			break
		}
	}
	for _, f := range gone {
		l.freeRow(f)
	}
	return older
}

// noteFates keeps what the kernel knows of the probes in flight of a flow that it is to forget.
func (l *loop) noteFates(f *flow) {
	for seq := f.tail; seq != f.next; seq++ {
		s := f.slot(seq)
		if s.state != slotWaiting || !s.is(slotKernel) {
			continue
		}
		switch l.kernel.Fate(uint32(f.row), seq, uint64(s.wire)) {
		case probe.FateEventLost:
			s.flags |= slotEventLost
		case probe.FateNotSeen:
			s.flags |= slotNotSeen
		}
	}
}

// fate is what the kernel says of the flow's oldest probe, or said when it was to forget the flow.
func (l *loop) fate(f *flow, s *slot) probe.Fate {
	switch {
	case f.row >= 0:
		return l.kernel.Fate(uint32(f.row), f.tail, uint64(s.wire))
	case s.is(slotEventLost):
		return probe.FateEventLost
	case s.is(slotNotSeen):
		return probe.FateNotSeen
	}
	return probe.FateSent
}

// delist forgets what the kernel knows of a flow.
func (l *loop) delist(f *flow) {
	if f.row < 0 {
		return
	}
	l.removeRow(f)
	l.freeRow(f)
	if l.full { // those that had no room may have some now
		l.broken.Store(true)
	}
}

func (l *loop) removeRow(f *flow) {
	if err := l.kernel.RemoveFlow(uint32(f.row), f.path.key.addr, f.sock.port, f.path.key.ssid); err != nil {
		l.log.Warn("flow stays in the kernel's tables", "error", err)
	}
}

func (l *loop) freeRow(f *flow) {
	l.rows[f.row] = nil
	f.row = -1
}

// readCaptured takes in the replies that the kernel has, and says whether those are all.
func (l *loop) readCaptured() (all bool) {
	return l.kernel == nil || l.kernel.Read(l.onCaptured)
}

// captured fills in the slot of the probe that was answered.
func (l *loop) captured(c *probe.Captured) {
	l.taken = c.T4
	var f *flow
	if int(c.Row) < len(l.rows) {
		f = l.rows[c.Row]
	}
	r := &l.decoded
	if f == nil || stamp.DecodeReply(c.Reply, r) != nil {
		l.stats.add(countReplyStale)
		return
	}
	// A row may have what the flow before noted in the same slots.
	f = l.holder(f, r.SenderSeq, r.SenderTimestamp)
	if f == nil || f.slot(r.SenderSeq).wire != r.SenderTimestamp {
		l.stats.add(countReplyStale)
		return
	}
	s := f.slot(r.SenderSeq)
	if s.state != slotAnswered {
		s.t1, s.t4, s.flags = c.T1, c.T4, s.flags|slotCaptured
	}
	l.meta = sock.Meta{TTL: c.TTL, TOS: c.TOS}
	l.matched(f, s, r, &l.meta)
}
