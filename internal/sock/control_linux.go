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
	Local   netip.Addr // the address the datagram was sent to; invalid if unknown
	IfIndex int        // the interface it came in by; 0 if unknown
	Error   ExtendedError
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
		}
	case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_PKTINFO:
		if p, ok := as[unix.Inet6Pktinfo](data); ok {
			m.Local, m.IfIndex = netip.AddrFrom16(p.Addr), int(p.Ifindex)
		}
	case level == unix.IPPROTO_IP && typ == unix.IP_RECVERR, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_RECVERR:
		if e, ok := as[unix.SockExtendedErr](data); ok {
			m.Error = ExtendedError{Errno: unix.Errno(e.Errno), Origin: e.Origin, Type: e.Type, Code: e.Code}
		}
	}
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
	TTL     uint8      // TTL or hop limit
	Source  netip.Addr // the address it leaves from; invalid: the kernel chooses
	IfIndex int        // the interface, needed with a link-local Source; else 0
}

// SetControl marks datagram i. Each datagram carries its own marks, so that
// nothing can leak from one to the next. The family is that of the socket.
func (b *Batch) SetControl(i int, v6 bool, o *Outgoing) {
	c := b.control[i*controlLen : (i+1)*controlLen]
	var n int
	if v6 {
		n = putInt(c, n, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int32(o.TOS))
		n = putInt(c, n, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, int32(o.TTL))
		if o.Source.IsValid() {
			p := put[unix.Inet6Pktinfo](c, &n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO)
			*p = unix.Inet6Pktinfo{Addr: o.Source.As16(), Ifindex: uint32(o.IfIndex)}
		}
	} else {
		n = putInt(c, n, unix.IPPROTO_IP, unix.IP_TOS, int32(o.TOS))
		n = putInt(c, n, unix.IPPROTO_IP, unix.IP_TTL, int32(o.TTL))
		if o.Source.IsValid() {
			p := put[unix.Inet4Pktinfo](c, &n, unix.IPPROTO_IP, unix.IP_PKTINFO)
			*p = unix.Inet4Pktinfo{Spec_dst: o.Source.As4(), Ifindex: int32(o.IfIndex)}
		}
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
