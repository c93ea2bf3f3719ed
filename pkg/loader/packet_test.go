//go:build linux

package loader

import (
	"encoding/binary"
	"net/netip"
)

var be = binary.BigEndian

// packet is a frame by its fields, so that a test can bend one of them.
type packet struct {
	dstMAC, srcMAC [6]byte
	vlans          []uint16 // TPIDs, outermost first
	tcis           []uint16 // of the tags; 100 and 101 if nil
	etherType      uint16

	src, dst     netip.Addr
	tos, ttl     uint8
	id, frag     uint16 // IPv4
	label        uint32 // flow label, IPv6
	proto        uint8
	options      []byte // between IP header and UDP
	sport, dport uint16
	payload      []byte
	trailer      []byte // Ethernet's padding

	noChecksum      bool // UDP's field is 0
	partialChecksum bool // only the pseudo-header's sum, as an offloading sender leaves it

	// bend changes the finished frame. l3 and l4 are offsets in it.
	bend func(frame []byte, l3, l4 int) []byte
}

func (p *packet) v6() bool { return p.dst.Is6() }

func (p *packet) headerLen() int {
	if p.v6() {
		return 40
	}
	return 20
}

// bytes is the frame, its checksums right.
func (p *packet) bytes() []byte {
	b := append(append([]byte{}, p.dstMAC[:]...), p.srcMAC[:]...)
	for i, tpid := range p.vlans {
		b = be.AppendUint16(b, tpid)
		tci := 100 + uint16(i)
		if p.tcis != nil {
			tci = p.tcis[i]
		}
		b = be.AppendUint16(b, tci)
	}
	b = be.AppendUint16(b, p.etherType)
	l3 := len(b)
	if p.v6() {
		b = p.appendIPv6(b)
	} else {
		b = p.appendIPv4(b)
	}
	l4 := len(b)
	b = be.AppendUint16(b, p.sport)
	b = be.AppendUint16(b, p.dport)
	b = be.AppendUint16(b, uint16(8+len(p.payload)))
	b = be.AppendUint16(b, 0)
	b = append(b, p.payload...)
	switch {
	case p.noChecksum:
	case p.partialChecksum:
		be.PutUint16(b[l4+6:], onesSum(p.pseudo()))
	default:
		be.PutUint16(b[l4+6:], udpChecksum(p.pseudo(), b[l4:]))
	}
	b = append(b, p.trailer...)
	if p.bend != nil {
		b = p.bend(b, l3, l4)
	}
	return b
}

func (p *packet) appendIPv4(b []byte) []byte {
	at := len(b)
	b = append(b, 0x45+uint8(len(p.options)/4), p.tos)
	b = be.AppendUint16(b, uint16(28+len(p.options)+len(p.payload)))
	b = be.AppendUint16(b, p.id)
	b = be.AppendUint16(b, p.frag)
	b = append(b, p.ttl, p.proto, 0, 0)
	b = append(b, p.src.AsSlice()...)
	b = append(b, p.dst.AsSlice()...)
	b = append(b, p.options...)
	be.PutUint16(b[at+10:], ^onesSum(b[at:]))
	return b
}

func (p *packet) appendIPv6(b []byte) []byte {
	b = be.AppendUint32(b, 6<<28|uint32(p.tos)<<20|p.label)
	b = be.AppendUint16(b, uint16(8+len(p.options)+len(p.payload)))
	b = append(b, p.proto, p.ttl)
	b = append(b, p.src.AsSlice()...)
	b = append(b, p.dst.AsSlice()...)
	return append(b, p.options...)
}

func (p *packet) pseudo() []byte {
	b := append(p.src.AsSlice(), p.dst.AsSlice()...)
	return append(b, 0, 17, byte((8+len(p.payload))>>8), byte(8+len(p.payload)))
}

// onesSum is the sum of RFC 1071, octet by octet, in no way as the BPF code does.
func onesSum(b []byte) uint16 {
	sum := 0
	for i, c := range b {
		if i%2 == 0 {
			sum += int(c) << 8
		} else {
			sum += int(c)
		}
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

func udpChecksum(pseudo, datagram []byte) uint16 {
	c := ^onesSum(append(append([]byte{}, pseudo...), datagram...))
	if c == 0 {
		return 0xffff
	}
	return c
}
