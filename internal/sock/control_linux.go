package sock

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Meta is what the kernel said of one received datagram.
type Meta struct {
	Stamp   int64      // CLOCK_REALTIME, ns: software receive stamp, or the transmit stamp of what is quoted; 0 if none
	TTL     uint8      // TTL or hop limit as received; 0 if unknown
	TOS     uint8      // TOS or traffic class: DSCP << 2 | ECN
	Local   netip.Addr // the address the datagram was sent to; invalid if unknown or not asked for (Options.LocalAddr)
	Group   bool       // Local is a broadcast or multicast address (of IPv6: only Local tells)
	IfIndex int        // the interface it came in by; 0 likewise
	Error   ExtendedError
	// Offender is who sent an ICMP error; invalid if there was none.
	Offender netip.Addr
}

// ExtendedError is sock_extended_err: why something is in the error queue.
type ExtendedError struct {
	Errno  unix.Errno
	Origin uint8 // unix.SO_EE_ORIGIN_…; NONE (0) if there was no such message
	Type   uint8 // ICMP type
	Code   uint8 // ICMP code
}

// Meta reads the control messages of received datagram i into m.
func (b *Batch) Meta(i int, m *Meta) {
	*m = Meta{}
	h := &b.hdrs[i].Hdr
	c := b.control[i*controlLen : i*controlLen+min(int(h.Controllen), controlLen)]
	for len(c) >= unix.SizeofCmsghdr {
		hdr := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		n := int(hdr.Len)
		if n < unix.SizeofCmsghdr || n > len(c) {
			return
		}
		m.read(hdr.Level, hdr.Type, c[unix.CmsgLen(0):n])
		next := unix.CmsgSpace(n - unix.CmsgLen(0))
		if next >= len(c) {
			return
		}
		c = c[next:]
	}
}

func (m *Meta) read(level, typ int32, data []byte) {
	switch {
	case level == unix.SOL_SOCKET && typ == unix.SCM_TIMESTAMPING:
		// struct scm_timestamping: software, (deprecated), hardware.
		if ts, ok := as[unix.Timespec](data); ok {
			m.Stamp = ts.Nano()
		}
	case level == unix.IPPROTO_IP && typ == unix.IP_TTL, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_HOPLIMIT:
		if v, ok := as[int32](data); ok {
			m.TTL = uint8(*v)
		}
	case level == unix.IPPROTO_IP && typ == unix.IP_TOS:
		if len(data) > 0 {
			m.TOS = data[0]
		}
	case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_TCLASS:
		if v, ok := as[int32](data); ok {
			m.TOS = uint8(*v)
		}
	case level == unix.IPPROTO_IP && typ == unix.IP_PKTINFO:
		if p, ok := as[unix.Inet4Pktinfo](data); ok {
			m.Local, m.IfIndex = netip.AddrFrom4(p.Addr), int(p.Ifindex)
			// The kernel's choice of source for an answer is the destination
			// itself only if that was unicast.
			m.Group = p.Spec_dst != p.Addr
		}
	case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_PKTINFO:
		if p, ok := as[unix.Inet6Pktinfo](data); ok {
			m.Local, m.IfIndex = netip.AddrFrom16(p.Addr), int(p.Ifindex)
		}
	case level == unix.IPPROTO_IP && typ == unix.IP_RECVERR, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_RECVERR:
		if e, ok := as[unix.SockExtendedErr](data); ok {
			m.Error = ExtendedError{Errno: unix.Errno(e.Errno), Origin: e.Origin, Type: e.Type, Code: e.Code}
			m.Offender = offender(data[unsafe.Sizeof(*e):])
		}
	}
}

// offender reads the address behind a sock_extended_err (SO_EE_OFFENDER).
func offender(data []byte) netip.Addr {
	if in6, ok := as[unix.RawSockaddrInet6](data); ok && in6.Family == unix.AF_INET6 {
		return netip.AddrFrom16(in6.Addr)
	}
	if in4, ok := as[unix.RawSockaddrInet4](data); ok && in4.Family == unix.AF_INET {
		return netip.AddrFrom4(in4.Addr)
	}
	return netip.Addr{}
}

// as views data as a T; the kernel aligns control data for its own types.
func as[T any](data []byte) (*T, bool) {
	var t T
	if len(data) < int(unsafe.Sizeof(t)) {
		return nil, false
	}
	return (*T)(unsafe.Pointer(&data[0])), true
}

// Outgoing is what is marked on one datagram that is sent.
type Outgoing struct {
	TOS     uint8      // DSCP << 2 | ECN
	TTL     uint8      // TTL or hop limit; 0: as Options.TTL has it
	Source  netip.Addr // the address it leaves from; invalid: the kernel chooses
	IfIndex int        // the interface, needed with a link-local Source; else 0
	TxStamp bool       // a transmit stamp comes back, where Options.TxStamps asks for none
}

// SetControl marks datagram i. Each datagram carries its own marks, so that
// nothing can leak from one to the next. What the socket does anyway (no socket
// of Open has a TOS) is not said again: each mark costs the kernel some 50 ns, and
// more than one an allocation. The family is that of the socket.
func (b *Batch) SetControl(i int, v6 bool, o *Outgoing) {
	c := b.control[i*controlLen : (i+1)*controlLen]
	n := 0
	level, tos, ttl := unix.IPPROTO_IP, unix.IP_TOS, unix.IP_TTL
	if v6 {
		level, tos, ttl = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_HOPLIMIT
	}
	if o.TOS != 0 {
		n = putInt(c, n, level, tos, int32(o.TOS))
	}
	if o.TTL != 0 {
		n = putInt(c, n, level, ttl, int32(o.TTL))
	}
	if o.TxStamp {
		n = putInt(c, n, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_TX_SOFTWARE)
	}
	switch {
	case !o.Source.IsValid():
	case v6:
		p := put[unix.Inet6Pktinfo](c, &n, level, unix.IPV6_PKTINFO)
		*p = unix.Inet6Pktinfo{Addr: o.Source.As16(), Ifindex: uint32(o.IfIndex)}
	default:
		p := put[unix.Inet4Pktinfo](c, &n, level, unix.IP_PKTINFO)
		*p = unix.Inet4Pktinfo{Spec_dst: o.Source.As4(), Ifindex: int32(o.IfIndex)}
	}
	b.hdrs[i].Hdr.Control = &c[0]
	b.hdrs[i].Hdr.SetControllen(n)
}

func putInt(c []byte, at int, level, typ int, v int32) int {
	*put[int32](c, &at, level, typ) = v
	return at
}

func put[T any](c []byte, at *int, level, typ int) *T {
	var t T
	size := int(unsafe.Sizeof(t))
	hdr := (*unix.Cmsghdr)(unsafe.Pointer(&c[*at]))
	hdr.Level, hdr.Type = int32(level), int32(typ)
	hdr.SetLen(unix.CmsgLen(size))
	data := (*T)(unsafe.Pointer(&c[*at+unix.CmsgLen(0)]))
	*at += unix.CmsgSpace(size)
	return data
}

func getsockopt[T any](fd, level, name int, v *T) error {
	n := uint32(unsafe.Sizeof(*v))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(v)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
