package lab

import (
	"encoding/binary"
	"net/netip"
)

// Direction is the way in which a packet passed the fabric's port to a host.
type Direction uint8

// The two directions.
const (
	FromHost Direction = iota // into the fabric
	ToHost                    // out of the fabric
)

// Record is one UDP packet at a tap.
type Record struct {
	Time      int64 // ns, CLOCK_REALTIME: received (FromHost), handed to the device (ToHost)
	Direction Direction
	Src, Dst  netip.AddrPort
	DSCP      uint8
	ECN       uint8
	TTL       uint8  // TTL or hop limit
	Length    int    // octets of UDP payload
	Head      []byte // at most the first 128 octets of the payload
}

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	protocolUDP   = 17
	ethernetSize  = 14
	udpSize       = 8
)

// parseUDP reads an Ethernet frame, which may be cut short in the payload. Later fragments are not ok:
// they have no UDP header.
func parseUDP(b []byte) (r Record, payload []byte, ok bool) {
	if len(b) < ethernetSize {
		return r, nil, false
	}
	etherType, ip := binary.BigEndian.Uint16(b[12:]), b[ethernetSize:]
	var src, dst netip.Addr
	var class uint8
	switch {
	case etherType == etherTypeIPv4 && len(ip) >= 20:
		size := int(ip[0]&15) * 4
		if ip[0]>>4 != 4 || size < 20 || len(ip) < size || ip[9] != protocolUDP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return r, nil, false
		}
		class, r.TTL = ip[1], ip[8]
		src, dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		ip = ip[size:]
	case etherType == etherTypeIPv6 && len(ip) >= 40:
		if ip[0]>>4 != 6 || ip[6] != protocolUDP {
			return r, nil, false
		}
		class, r.TTL = uint8(binary.BigEndian.Uint16(ip)>>4), ip[7]
		src, dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		ip = ip[40:]
	default:
		return r, nil, false
	}
	if len(ip) < udpSize {
		return r, nil, false
	}
	r.DSCP, r.ECN = class>>2, class&3
	r.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(ip))
	r.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ip[2:]))
	r.Length = int(binary.BigEndian.Uint16(ip[4:])) - udpSize
	if r.Length < 0 {
		return r, nil, false
	}
	payload = ip[udpSize:]
	return r, payload[:min(len(payload), r.Length)], true
}
