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
	for i := range p.flows {
		if f := &p.flows[i]; p.kernel && f.row < 0 {
			row, err := l.kernel.AddFlow(p.key.addr, f.sock.port, p.key.ssid, int(p.inFlight))
			if err != nil {
				if !l.full {
					l.full = true
					l.log.Warn("flows are measured by their sockets", "target", p.target.Name, "why", err)
				}
				p.kernel = false
				break
			}
			f.row = int32(row)
			l.rows = append(l.rows, make([]*flow, max(0, int(row)+1-len(l.rows)))...)
			l.rows[row] = f
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

// delist forgets what the kernel knows of a flow.
func (l *loop) delist(f *flow) {
	if f.row < 0 {
		return
	}
	l.rows[f.row] = nil
	if err := l.kernel.RemoveFlow(uint32(f.row), f.path.key.addr, f.sock.port, f.path.key.ssid); err != nil {
		l.log.Warn("flow stays in the kernel's tables", "error", err)
	}
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
	if !f.holds(r.SenderSeq) || f.slot(r.SenderSeq).wire != r.SenderTimestamp {
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
