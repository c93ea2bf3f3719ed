package collector

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// parseFrame finds the UDP payload in a frame as a transmit stamp brings it back:
// from the link layer on, or from the IP header where the device has none. Only
// what left from sourcePort is ours; anything else answers ok = false.
func parseFrame(b []byte, sourcePort uint16) (to netip.AddrPort, payload []byte, ok bool) {
	inner, isEthernet := stripEthernet(b)
	if isEthernet {
		if to, payload, ok = parseUDP(inner, sourcePort); ok {
			return to, payload, true
		}
	}
	return parseUDP(b, sourcePort)
}

func parseUDP(b []byte, sourcePort uint16) (to netip.AddrPort, payload []byte, ok bool) {
	udp, dst, ok := parseIP(b)
	if !ok || len(udp) < 8 || binary.BigEndian.Uint16(udp) != sourcePort {
		return netip.AddrPort{}, nil, false
	}
	return netip.AddrPortFrom(dst, binary.BigEndian.Uint16(udp[2:])), udp[8:], true
}

func stripEthernet(b []byte) ([]byte, bool) {
	const vlan, vlanQinQ = 0x8100, 0x88a8
	at := 12
	for range 3 {
		if len(b) < at+2 {
			return nil, false
		}
		typ := binary.BigEndian.Uint16(b[at:])
		at += 2
		if typ != vlan && typ != vlanQinQ {
			return b[at:], typ == unix.ETH_P_IP || typ == unix.ETH_P_IPV6
		}
		at += 2
	}
	return nil, false
}

func parseIP(b []byte) (udp []byte, dst netip.Addr, ok bool) {
	if len(b) < 20 {
		return nil, netip.Addr{}, false
	}
	switch b[0] >> 4 {
	case 4:
		n := int(b[0]&15) * 4
		if n < 20 || b[9] != unix.IPPROTO_UDP || len(b) < n {
			return nil, netip.Addr{}, false
		}
		return b[n:], netip.AddrFrom4([4]byte(b[16:20])), true
	case 6:
		if len(b) < 40 || b[6] != unix.IPPROTO_UDP {
			return nil, netip.Addr{}, false
		}
		return b[40:], netip.AddrFrom16([16]byte(b[24:40])), true
	}
	return nil, netip.Addr{}, false
}
