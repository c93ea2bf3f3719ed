package sock

import (
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr is an address in the kernel's layout, made once and used for each send.
type Sockaddr struct {
	raw unix.RawSockaddrInet6 // holds a RawSockaddrInet4 too, which is shorter
	len uint32
}

// NewSockaddr converts a; IPv4-mapped addresses must be unmapped by the caller.
func NewSockaddr(a netip.AddrPort) Sockaddr {
	var s Sockaddr
	if a.Addr().Is4() {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		in4.Family = unix.AF_INET
		in4.Addr = a.Addr().As4()
		putPort(&in4.Port, a.Port())
		s.len = unix.SizeofSockaddrInet4
		return s
	}
	s.raw.Family = unix.AF_INET6
	s.raw.Addr = a.Addr().As16()
	putPort(&s.raw.Port, a.Port())
	if z := a.Addr().Zone(); z != "" {
		s.raw.Scope_id = zoneIndex(z)
	}
	s.len = unix.SizeofSockaddrInet6
	return s
}

// AddrPort is the inverse of NewSockaddr, without the zone of a link-local
// address (a name would have to be looked up, and allocated).
func (s *Sockaddr) AddrPort() netip.AddrPort {
	return rawAddrPort(&s.raw)
}

func rawAddrPort(raw *unix.RawSockaddrInet6) netip.AddrPort {
	switch raw.Family {
	case unix.AF_INET:
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), port(&in4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(raw.Addr), port(&raw.Port))
	}
	return netip.AddrPort{}
}

// Ports are in network byte order in the kernel's structures.
func putPort(p *uint16, v uint16) {
	b := (*[2]byte)(unsafe.Pointer(p))
	b[0], b[1] = byte(v>>8), byte(v)
}

func port(p *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(p))
	return uint16(b[0])<<8 | uint16(b[1])
}

func zoneIndex(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}
