package collector

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// testFrame is Ethernet, IP and UDP from port 20001 to port 862, with the payload.
func testFrame(to netip.Addr, ethernet, vlan bool, payload string) []byte {
	var b []byte
	typ := []byte{0x08, 0}
	if to.Is6() {
		typ = []byte{0x86, 0xdd}
	}
	if ethernet {
		// An address that looks like the start of an IP header.
		b = append(b, 0x45, 0, 0, 1, 2, 3, 0x45, 0, 0, 17, 2, 3)
		if vlan {
			b = append(b, 0x81, 0, 0, 5)
		}
		b = append(b, typ...)
	}
	if to.Is4() {
		b = append(b, 0x45, 0, 0, byte(28+len(payload)), 0, 0, 0x40, 0, 255, 17, 0, 0, 10, 0, 0, 1)
		b = append(b, to.AsSlice()...)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0, byte(8+len(payload)), 17, 255)
		b = append(b, make([]byte, 16)...)
		b = append(b, to.AsSlice()...)
	}
	b = append(b, 20001>>8, 20001&0xff, 862>>8, 862&0xff, 0, byte(8+len(payload)), 0, 0)
	return append(b, payload...)
}

func TestParseFrame(t *testing.T) {
	for _, addr := range []string{"10.0.0.2", "fd00::2"} {
		to := netip.MustParseAddr(addr)
		for _, f := range [][]byte{testFrame(to, true, false, "probe"), testFrame(to, true, true, "probe"), testFrame(to, false, false, "probe")} {
			got, payload, ok := parseFrame(f, 20001)
			require.True(t, ok)
			require.Equal(t, netip.AddrPortFrom(to, 862), got)
			require.Equal(t, "probe", string(payload))
			_, _, ok = parseFrame(f, 20002)
			require.False(t, ok, "another source port, such as a reflected frame's")
			for cut := range len(f) - len("probe") {
				_, _, ok = parseFrame(f[:cut], 20001)
				require.False(t, ok, "cut to %d octets", cut)
			}
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(testFrame(netip.MustParseAddr("10.0.0.2"), true, true, "x"), uint16(20001))
	f.Add(testFrame(netip.MustParseAddr("fd00::2"), false, false, ""), uint16(20001))
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		to, payload, ok := parseFrame(b, port)
		require.Equal(t, ok, to.IsValid())
		require.LessOrEqual(t, len(payload), len(b))
	})
}
