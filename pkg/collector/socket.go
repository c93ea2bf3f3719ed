package collector

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

// A socket holds one source port of one family; all flows that leave from that
// port share it.
type socket struct {
	key   socketKey
	id    uint32 // in the map of flows
	bind  netip.AddrPort
	fd    int   // -1 if it could not be opened
	err   error // why not
	port  uint16
	flows int // that use it
	drops uint32
	read  int64  // monotonic ns: when the datagram read last arrived
	fresh uint32 // drops of late that no missing probe accounts for yet
	aged  uint32 // the same, from the time before
}

// socketKey: with port 0 the kernel chooses, a port for each index.
type socketKey struct {
	v6    bool
	port  uint16
	index int
}

// Buffers are limits, not allocations. Replies and transmit stamps share the
// first; 4 MiB hold some 5,000 of them.
const (
	recvBuffer = 4 << 20
	sendBuffer = 1 << 20
)

func (l *loop) openSocket(key socketKey) *socket {
	bind := sourceOf(l.sources, key.v6)
	switch {
	case bind.IsValid():
	case key.v6:
		bind = netip.IPv6Unspecified()
	default:
		bind = netip.IPv4Unspecified()
	}
	l.socketID++
	s := &socket{key: key, id: l.socketID, port: key.port, fd: -1, bind: netip.AddrPortFrom(bind, key.port)}
	l.reopenSocket(s)
	return s
}

// reopenSocket opens a socket, or tries again where that failed before: the port
// may be free now, the source address there.
func (l *loop) reopenSocket(s *socket) {
	before := s.err
	s.drops = 0
	s.fd, s.err = sock.Open(sock.Options{
		Bind: s.bind, RecvBuffer: recvBuffer, SendBuffer: sendBuffer, TTL: 255,
		// Where the kernel measures, each probe that it does not asks for its stamp.
		TxStamps: l.kernel == nil, RecvErr: true, DontFragment: true,
	})
	if s.err == nil && l.device.index != 0 {
		s.err = l.pin(s)
	}
	if s.err == nil {
		s.err = s.watch(l.epoll)
	}
	if s.err == nil && l.kernel != nil {
		s.err = l.kernel.AddSocket(s.fd)
	}
	if s.err != nil {
		if before == nil {
			l.log.Error("source port not usable", "port", s.key.port, "error", s.err)
		}
		s.close()
		return
	}
	l.byFD[int32(s.fd)] = s
	if len(l.byFD) == 1 {
		sock.AwaitStamps()
	}
}

// pin has a socket send by the device.
func (l *loop) pin(s *socket) error {
	if l.device.bound {
		return sock.BindToInterface(s.fd, l.device.index)
	}
	return sock.SendBy(s.fd, s.key.v6, l.device.index)
}

// whyClosed is the reason for which nothing leaves from a socket that could not
// be opened.
func (s *socket) whyClosed() reason {
	switch {
	case errors.Is(s.err, unix.EADDRNOTAVAIL):
		return reasonNoSource
	case errors.Is(s.err, unix.EADDRINUSE), errors.Is(s.err, unix.EACCES):
		return reasonSourcePort
	case errors.Is(s.err, unix.ENODEV):
		return reasonLinkDown
	}
	return reasonOther
}

func (s *socket) watch(epoll int) error {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("read bound address: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		s.port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		s.port = uint16(sa.Port)
	}
	s.bind = netip.AddrPortFrom(s.bind.Addr(), s.port) // to stay the same, should it be opened again
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLERR, Fd: int32(s.fd)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, s.fd, &ev); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

func (l *loop) closeSocket(s *socket) {
	if l.kernel != nil && s.fd >= 0 {
		if err := l.kernel.RemoveSocket(s.fd); err != nil {
			l.log.Warn("socket stays in the kernel's tables", "error", err)
		}
	}
	s.close()
}

func (s *socket) close() {
	closeFD(s.fd)
	s.fd = -1
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// claimDrop says whether the kernel dropped a datagram at this socket that no
// other missing probe has claimed. Which datagram it was cannot be known, so
// local_drop of the socket mode is an upper bound: our own drops never count as
// the network's loss.
func (l *loop) claimDrop(s *socket) bool {
	if s.aged+s.fresh == 0 {
		l.readDrops(s)
	}
	switch {
	case s.aged > 0:
		s.aged--
	case s.fresh > 0:
		s.fresh--
	default:
		return false
	}
	return true
}

// readDrops takes in what the kernel dropped at the socket, and returns how many datagrams that are in all. What the
// host's counts do not explain yet may follow.
func (l *loop) readDrops(s *socket) uint32 {
	if s.fd < 0 {
		return s.drops
	}
	n, err := sock.Drops(s.fd)
	if err != nil || n == s.drops {
		return s.drops
	}
	own := l.overflows.claim(n - s.drops)
	l.stats[countSocketDrops].Add(uint64(own))
	s.fresh += own
	s.drops += own
	return n
}

// ageDrops forgets, from time to time, drops that no probe can be missing for any
// more: a flood of long ago must not hide a loss of now. A probe is judged at its flow's
// first turn after Late.
func (l *loop) ageDrops(now int64) {
	held := l.late + 2*int64(drainEvery)
	if now-l.aged < held+min(l.schedule.interval, 2*held) {
		return
	}
	l.aged = now
	for _, s := range l.sockets {
		s.drops = l.readDrops(s) // what is not explained by now never will be
		s.aged, s.fresh = s.fresh, 0
	}
	l.overflows.forget()
}
