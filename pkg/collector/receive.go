package collector

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// maxRounds bounds how long one drain may keep the loop from sending.
const maxRounds = 32

// drain reads all sockets. Once it finds them empty, everything that reached this
// host before it looked is known, and probes may be forgotten up to that time.
func (l *loop) drain() {
	l.unread = 0
	n, all := 0, false
	for range maxRounds {
		before := l.offset.at
		all = l.readCaptured()
		var errno unix.Errno
		n, errno = sock.EpollNow(l.epoll, l.events[:])
		if errno != 0 {
			return // interrupted
		}
		if n == 0 && all {
			l.drained = before
			return
		}
		l.sampleClock()
		for _, ev := range l.events[:n] {
			s := l.byFD[ev.Fd]
			if s == nil {
				continue
			}
			// Stamps first: a reply is judged by them.
			if ev.Events&unix.EPOLLERR != 0 {
				if l.drainErrors(s) == 0 {
					l.drainReplies(s) // clears an error that did not fit the queue
				}
			}
			if ev.Events&unix.EPOLLIN != 0 {
				l.drainReplies(s)
			}
		}
	}
	// There is more than can be read between two sends. A socket is read in the
	// order of arrival: what came before the last datagram read is known.
	oldest := l.offset.at
	if !all {
		oldest = l.taken // and so is the ring
	}
	for _, ev := range l.events[:n] {
		if s := l.byFD[ev.Fd]; s != nil {
			oldest = min(oldest, s.read)
		}
	}
	l.drained = max(l.drained, oldest)
}

func (l *loop) drainReplies(s *socket) {
	n, _ := l.in.Recv(s.fd, unix.MSG_DONTWAIT) // an errno here is an old ICMP error: it is in the error queue too
	for i := range n {
		l.in.Meta(i, &l.meta)
		s.read = l.offset.mono(l.meta.Stamp)
		l.reply(s, l.in.Payload(i), l.in.Addr(i), &l.meta)
	}
}

// reply fills in the slot of the probe that b answers, if it does.
func (l *loop) reply(s *socket, b []byte, from netip.AddrPort, m *sock.Meta) {
	if len(b) < stamp.BaseLen {
		l.stats.add(countReplyShort)
		return
	}
	f := l.flowOf(s, from, b)
	if f == nil {
		l.stats.add(countReplyUnmatched)
		return
	}
	r := &l.decoded
	if err := l.decode(f, b, r); err != nil {
		l.stats.add(countReplyAuth)
		return
	}
	if f = l.holder(f, r.SenderSeq, r.SenderTimestamp); f == nil {
		l.stats.add(countReplyStale)
		return
	}
	p := f.slot(r.SenderSeq)
	if r.SenderTimestamp != p.wire {
		// Counted, not believed: the probe goes on waiting.
		l.stats.add(countReplyMismatch)
		f.path.window(p.win).rest(f.index).corrupted++
		return
	}
	l.matched(f, p, r, m)
}

// matched takes in a reply to the probe in slot p of flow f.
func (l *loop) matched(f *flow, p *slot, r *stamp.Reply, m *sock.Meta) {
	l.stats.add(countReplies)
	if r.Malformed || r.Integrity {
		l.stats.add(countReplyTLV)
	}
	c := countersOf(r)
	if c.tx != r.SenderSeq+1 {
		f.dir.proved = true
	}
	if p.state == slotAnswered {
		p.again(c)
		return
	}
	if p.state == slotWaiting {
		l.waiting--
	}
	p.state, p.counters = slotAnswered, c
	l.answered(f, p, r, m)
}

func (l *loop) answered(f *flow, p *slot, r *stamp.Reply, m *sock.Meta) {
	p.got = l.offset.at
	if m.Stamp != 0 {
		p.t4 = l.offset.mono(m.Stamp)
	}
	p.responder = residence(r, l.offset.at+l.offset.wallMinusMono)
	l.noteTransit(f, r)
	p.marks = marks{hops(r.SenderTTL), hops(m.TTL), unknown, m.TOS >> 2}
	if r.Has(stamp.TypeClassOfService) {
		p.marks.dscpForward = r.CoS.DSCP2
	}
	if ahead(f.seen, r.SenderSeq) && f.seen != 0 {
		if f.seen != r.SenderSeq+1 {
			p.flags |= slotReordered
		}
	} else {
		f.seen = r.SenderSeq + 1
	}
	if l.observe != nil {
		_, rtt, _ := l.times(f, p)
		l.observe(Answer{Target: f.path.target.Name, Class: f.path.key.class.Name, SrcPort: f.sock.port, Seq: r.SenderSeq, RTT: rtt})
	}
}

// again counts a reply to a probe that has one.
func (p *slot) again(c counters) {
	if p.dups < 255 {
		p.dups++
	}
	if c.kind == p.counters.kind && c.tx != p.counters.tx && p.extra < 255 {
		// Duplicated before the reflector, which answered both.
		p.extra++
		if ahead(c.tx, p.counters.tx) {
			p.counters = c
		}
	}
}

func (l *loop) decode(f *flow, b []byte, r *stamp.Reply) error {
	if f.path.auth != nil {
		return stamp.DecodeReplyAuth(b, r, stamp.Authenticated, f.path.auth)
	}
	return stamp.DecodeReply(b, r)
}

// flowOf looks the session up: by address, port and SSID; by address and port
// alone where the target returns no SSID.
func (l *loop) flowOf(s *socket, from netip.AddrPort, b []byte) *flow {
	key := flowKey{addr: from.Addr().As16(), port: from.Port(), ssid: stamp.SSID(b, stamp.Unauthenticated), sock: s.id}
	if f := l.byKey.find(key); f != nil && f.path.auth == nil {
		return f
	}
	if l.anyAuth && len(b) >= stamp.AuthBaseLen {
		key.ssid = stamp.SSID(b, stamp.Authenticated)
		if f := l.byKey.find(key); f != nil && f.path.auth != nil {
			return f
		}
	}
	key.ssid = 0
	return l.byKey.find(key)
}

func countersOf(r *stamp.Reply) counters {
	if r.Has(stamp.TypeDirectMeasurement) {
		return counters{kind: byTLV, rx: r.DM.ReflectorRx, tx: r.DM.ReflectorTx}
	}
	return counters{kind: byNumber, rx: r.Seq + 1, tx: r.Seq + 1}
}

// residence returns T3-T2 in ns, or -1 if the reflector's stamps make no sense.
func residence(r *stamp.Reply, near int64) int64 {
	if r.ReceiveTimestamp == 0 || r.Timestamp == 0 {
		return -1
	}
	format := r.ErrorEstimate.Format()
	d := format.UnixNano(r.Timestamp, near) - format.UnixNano(r.ReceiveTimestamp, near)
	return max(d, -1)
}

// drainErrors reads a socket's error queue: transmit stamps, each with the frame
// it belongs to, and ICMP errors, each with what it quotes of the probe.
func (l *loop) drainErrors(s *socket) (n int) {
	n, _ = l.errs.Recv(s.fd, unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE)
	for i := range n {
		l.errs.Meta(i, &l.meta)
		switch l.meta.Error.Origin {
		case unix.SO_EE_ORIGIN_TIMESTAMPING:
			l.txStamp(s, l.errs.Payload(i), l.meta.Stamp)
		case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
			l.stats.add(countICMP)
			l.icmp(s, l.errs.Payload(i), l.errs.Addr(i), &l.meta)
		}
	}
	return n
}

func (l *loop) txStamp(s *socket, frame []byte, wall int64) {
	to, payload, ok := parseFrame(frame, s.port)
	if !ok || wall == 0 {
		return // such as a reflected frame, stamped again on its way back
	}
	f, p := l.slotOf(s, to, payload)
	if p == nil || p.t1 != 0 {
		return
	}
	p.t1 = l.offset.mono(wall)
	if !p.is(slotKernel) {
		f.path.stamped, f.stamped = true, true
	}
	l.stats.add(countTxStamps)
}

func (l *loop) icmp(s *socket, quoted []byte, to netip.AddrPort, m *sock.Meta) {
	f, p := l.slotOf(s, to, quoted)
	if p == nil {
		l.stats.add(countICMPUnmatched)
		return
	}
	if p.state != slotWaiting {
		return
	}
	l.waiting--
	p.state = slotUnreachable
	if hostUnreachable(m.Error) && m.Offender == f.path.route.source && m.Offender != to.Addr() {
		p.state = slotNeverLeft // this host says so itself: no neighbour answered
	}
}

// slotOf finds the probe that b, at least its first 16 octets, is.
func (l *loop) slotOf(s *socket, to netip.AddrPort, b []byte) (*flow, *slot) {
	if len(b) < 16 || !to.IsValid() {
		return nil, nil
	}
	key := flowKey{addr: to.Addr().As16(), port: to.Port(), sock: s.id, ssid: binary.BigEndian.Uint16(b[14:])}
	f := l.byKey.find(key)
	if f == nil && l.anyAuth && len(b) >= stamp.BaseLen {
		key.ssid = stamp.SSID(b, stamp.Authenticated)
		f = l.byKey.find(key)
	}
	if f == nil {
		key.ssid = 0
		f = l.byKey.find(key)
	}
	if f == nil {
		return nil, nil
	}
	seq, at := binary.BigEndian.Uint32(b), 4
	if f.path.auth != nil {
		at = 16 // RFC 8762 section 4.2.2: twelve octets of MBZ follow the number
	}
	if len(b) < at+8 {
		return nil, nil
	}
	wire := stamp.Timestamp(binary.BigEndian.Uint64(b[at:]))
	if f = l.holder(f, seq, wire); f == nil || f.slot(seq).wire != wire {
		return nil, nil
	}
	return f, f.slot(seq)
}

func hostUnreachable(e sock.ExtendedError) bool {
	const icmpUnreachable, hostCode, icmp6Unreachable, addressCode = 3, 1, 1, 3
	return e.Origin == unix.SO_EE_ORIGIN_ICMP && e.Type == icmpUnreachable && e.Code == hostCode ||
		e.Origin == unix.SO_EE_ORIGIN_ICMP6 && e.Type == icmp6Unreachable && e.Code == addressCode
}
