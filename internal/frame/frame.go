// Package frame builds Ethernet frames that carry UDP over IPv4 or IPv6. It does no I/O.
//
// What the frames of one path have in common is written once (NewHeader). For each frame
// remain the source port, the lengths and the checksums, and those are made of sums: the
// payload is not read again.
//
//	octet    IPv4                          IPv6
//	0        destination MAC, source MAC, EtherType
//	14       version, TOS, length          version, traffic class, flow label
//	18       identification 0, DF          payload length, next header, hop limit
//	22       TTL 255, protocol, checksum   source
//	26       source, destination
//	34       UDP                           (38) destination
//	54                                     UDP
package frame

import (
	"encoding/binary"
	"net/netip"
)

var be = binary.BigEndian

// Lengths in octets.
const (
	EthernetLen = 14
	ipv4Len     = 20
	ipv6Len     = 40
	udpLen      = 8
	// MaxHeaderLen is the longest header that there is.
	MaxHeaderLen = EthernetLen + ipv6Len + udpLen
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	protoUDP = 17
	maxTTL   = 255
	dontFrag = 0x4000
)

// A MAC is an Ethernet address.
type MAC [6]byte

// Path is what the frames of a path have in common.
type Path struct {
	SrcMAC, DstMAC MAC
	Src            netip.Addr // of the family of Dst, neither mapped
	Dst            netip.AddrPort
	TOS            uint8 // DSCP << 2 | ECN
}

// A Header is all that stands before the payload.
type Header struct {
	b     [MaxHeaderLen]byte
	n     int
	six   bool
	ip    uint32 // sum of the IPv4 header without its length
	udp   uint32 // sum of what the UDP checksum covers and all frames share
	label uint32 // of IPv6 flows: mixed with the source port
}

// NewHeader writes what does not change.
func NewHeader(p *Path) (h Header) {
	copy(h.b[:], p.DstMAC[:])
	copy(h.b[6:], p.SrcMAC[:])
	ip := h.b[EthernetLen:]
	var udp []byte
	if p.Dst.Addr().Is4() {
		be.PutUint16(h.b[12:], typeIPv4)
		ip[0], ip[1] = 0x45, p.TOS
		be.PutUint16(ip[6:], dontFrag) // and identification 0, which RFC 6864 allows then
		ip[8], ip[9] = maxTTL, protoUDP
		src, dst := p.Src.As4(), p.Dst.Addr().As4()
		copy(ip[12:], src[:])
		copy(ip[16:], dst[:])
		h.ip = sum(ip[:ipv4Len])
		h.udp = sum(ip[12:ipv4Len])
		udp = ip[ipv4Len:]
	} else {
		be.PutUint16(h.b[12:], typeIPv6)
		be.PutUint16(ip, 6<<12|uint16(p.TOS)<<4)
		ip[6], ip[7] = protoUDP, maxTTL
		src, dst := p.Src.As16(), p.Dst.Addr().As16()
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
		h.udp = sum(ip[8:ipv6Len])
		h.six = true
		h.label = h.udp*0x9e37 + uint32(p.Dst.Port())
		udp = ip[ipv6Len:]
	}
	be.PutUint16(udp[2:], p.Dst.Port())
	h.udp += protoUDP + uint32(p.Dst.Port())
	h.n = len(h.b) - len(udp) + udpLen
	return h
}

// Len is the length of the header in octets.
func (h *Header) Len() int { return h.n }

// Put writes the header of a frame that leaves from a source port with a payload of n
// octets, whose ones' complement sum is given, into b, which must hold Len octets.
func (h *Header) Put(b []byte, sourcePort uint16, n int, payload uint32) {
	b = b[:h.n]
	copy(b, h.b[:])
	ip, udp := b[EthernetLen:], b[h.n-udpLen:]
	length := uint32(udpLen + n)
	if !h.six {
		total := uint32(ipv4Len) + length
		be.PutUint16(ip[2:], uint16(total))
		be.PutUint16(ip[10:], ^uint16(fold(h.ip+total)))
	} else {
		label := h.flowLabel(sourcePort)
		ip[1] |= byte(label >> 16)
		be.PutUint16(ip[2:], uint16(label))
		be.PutUint16(ip[4:], uint16(length))
	}
	be.PutUint16(udp, sourcePort)
	be.PutUint16(udp[4:], uint16(length))
	// The length stands in the pseudo-header too.
	check := ^uint16(fold(h.udp + uint32(sourcePort) + 2*length + fold(payload)))
	if check == 0 {
		check = 0xffff // 0 would say that there is none
	}
	be.PutUint16(udp[6:], check)
}

// flowLabel is the same for all packets of a flow, and never 0 (RFC 6437, section 3).
func (h *Header) flowLabel(sourcePort uint16) uint32 {
	x := (h.label ^ uint32(sourcePort)<<16) * 0x9e3779b1
	return max(x>>12, 1)
}

// sum is the ones' complement sum, folded to 16 bits (RFC 1071).
func sum(b []byte) uint32 {
	var s uint64
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(be.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(be.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		s += uint64(b[0]) << 8
	}
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	return fold(uint32(s>>16) + uint32(s&0xffff))
}

// fold brings a sum to 16 bits.
func fold(s uint32) uint32 {
	s = s>>16 + s&0xffff
	return s>>16 + s&0xffff
}
