package collector

import (
	"github.com/llama-agent/llama-agent/internal/frame"
	"github.com/llama-agent/llama-agent/internal/sock"
)

// A packetSocket sends whole frames by an interface, whatever ports they leave from: what
// is due of all flows goes in one batch.
type packetSocket struct {
	fd   int // -1 if it could not be opened
	out  outbox
	used bool // by some path, as found by the last apply
}

// packetBuffer is how much may wait in an interface's queue.
const packetBuffer = 8 << 20

// A framing is what a path needs to send frames.
type framing struct {
	next   *nextHop
	now    *hop // as it was when the header was written; nil: never
	header frame.Header
	socket *packetSocket // nil: frames cannot be had, and the UDP sockets do it
}

// frameProbes has the path's probes leave as frames, where that is asked for and can be had.
func (l *loop) frameProbes(p *path) {
	if !l.packets.asked {
		return
	}
	why := ""
	switch {
	case p.auth != nil:
		why = "they are authenticated"
	case p.route.next == nil:
		why = p.route.noFrames
	case !p.kernel:
		why = "the kernel does not measure them"
	}
	if why != "" {
		if p.route.ifIndex != 0 { // or else there is no route, which sockets say too
			l.keepSockets(p, why)
		}
		p.framing = nil
		return
	}
	if p.framing == nil || p.framing.next != p.route.next {
		p.framing = &framing{next: p.route.next}
	}
	if p.framing.socket == nil {
		p.framing.now = nil // a packet socket that could not be had may be now
	}
	l.turnTo(p)
	if s := p.framing.socket; s != nil {
		s.used = true
	}
}

// keepSockets says once, of each cause, that frames cannot be had.
func (l *loop) keepSockets(p *path, why string) {
	if why != "" && !l.packets.told[why] {
		l.packets.told[why] = true
		l.log.Warn("probes leave from their UDP sockets, not as frames", "target", p.target.Name, "why", why)
	}
}

// turnTo writes the path's header for the next hop of now. Nothing of the path may wait
// to be sent.
func (l *loop) turnTo(p *path) {
	g, now := p.framing, p.framing.next.now.Load()
	if g.now == now {
		return
	}
	g.now, g.socket = now, nil
	if now.unsuitable != "" {
		l.keepSockets(p, now.unsuitable)
		return
	}
	if now.blocked {
		return
	}
	g.header = frame.NewHeader(&frame.Path{
		SrcMAC: now.srcMAC, DstMAC: now.dstMAC, Src: now.source, Dst: p.key.addr, TOS: p.key.class.DSCP << 2,
	})
	g.socket = l.packetSocketOf(now.ifIndex)
	if g.socket == nil {
		l.keepSockets(p, "the packet socket cannot be had")
	}
}

// packetSocketOf returns the interface's packet socket; nil if it cannot be had.
func (l *loop) packetSocketOf(ifIndex int) *packetSocket {
	s := l.packets.sockets[ifIndex]
	if s == nil {
		s = l.openPacketSocket(ifIndex)
		l.packets.sockets[ifIndex] = s
	}
	if s.fd < 0 {
		return nil
	}
	return s
}

func (l *loop) openPacketSocket(ifIndex int) *packetSocket {
	fd, err := sock.OpenPacket(ifIndex, packetBuffer)
	if err == nil {
		err = l.kernel.AddSocket(fd)
	}
	if err != nil {
		l.log.Error("packet socket not usable", "interface", ifIndex, "error", err)
		closeFD(fd)
		return &packetSocket{fd: -1}
	}
	l.log.Info("probes leave as frames", "interface", ifIndex)
	s := &packetSocket{fd: fd}
	s.out = outbox{fd: fd, batch: l.newFrames(), count: l.nextBatch()}
	return s
}

func (l *loop) newFrames() *sock.Batch { return sock.NewBatch(batchSize, l.fits+frame.MaxHeaderLen) }

func (l *loop) closePacketSocket(s *packetSocket) {
	if s.fd < 0 {
		return
	}
	if err := l.kernel.RemoveSocket(s.fd); err != nil {
		l.log.Warn("packet socket stays in the kernel's tables", "error", err)
	}
	closeFD(s.fd)
}

// sweepPacketSockets closes those of interfaces that no path goes by; those that could not
// be opened are tried again.
func (l *loop) sweepPacketSockets() {
	for ifIndex, s := range l.packets.sockets {
		if !s.used {
			l.closePacketSocket(s)
			delete(l.packets.sockets, ifIndex)
		}
		s.used = false
	}
}

// outboxOf returns where the flow's next probe goes; ok is false if nothing can leave now.
func (l *loop) outboxOf(f *flow) (o *outbox, why reason, ok bool) {
	g := f.path.framing
	if g == nil {
		return l.socketOutbox(f), 0, true
	}
	if g.next.now.Load() != g.now {
		l.flushAll() // what is in a batch leaves the way it was made for
		l.turnTo(f.path)
	}
	switch {
	case g.now.blocked && g.now.unsuitable == "":
		return nil, g.now.blockReason, false
	case g.socket == nil:
		return l.socketOutbox(f), 0, true
	}
	o = &g.socket.out
	if o.n == batchSize || f.batch == o.count {
		l.flush(o)
	}
	return o, 0, true
}

// readsT1 says whether T1 of the flow's probes is read in user space: nothing may come between that and the send.
func (f *flow) readsT1() bool { return !f.path.kernel && !f.path.stamped }

// socketOutbox is that of the UDP sockets, turned to the flow's own.
func (l *loop) socketOutbox(f *flow) *outbox {
	o := &l.out
	alone := o.n > 0 && (f.readsT1() || o.flows[o.n-1].readsT1())
	if alone || o.n == batchSize || o.fd != f.sock.fd || f.batch == o.count {
		l.flush(o)
	}
	o.fd = f.sock.fd
	return o
}
