package reflector

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// The lists nest in any way, and each source gets what every prefix around it says.
func TestVerdicts(t *testing.T) {
	c, err := compile(&Policy{
		Allow: prefixes("10.1.2.0/24", "fd00::/8", "::ffff:192.0.2.0/120"),
		Peers: prefixes("10.1.0.0/16", "10.1.2.3/32", "fd00::1/128"),
		Auth: []Auth{
			{SSID: 9, Key: testKey}, // 0
			{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Key: testKey},          // 1
			{Prefix: netip.MustParsePrefix("10.1.2.3/32"), SSID: 5, Key: testKey}, // 2
			{Prefix: netip.MustParsePrefix("10.1.2.3/32"), SSID: 6, Key: testKey}, // 3
		},
	}, []uint16{862, 9000})
	require.NoError(t, err)
	withSSID := func(n byte) []byte { return append(make([]byte, 15), n) }
	for _, w := range []struct {
		addr          string
		allowed, peer bool
		ssid          byte
		key           int
	}{
		{"10.1.2.4", true, true, 1, 1},
		{"10.1.2.3", true, true, 5, 2},
		{"10.1.2.3", true, true, 6, 3},
		{"10.1.2.3", true, true, 7, 1},
		{"10.1.9.9", true, true, 9, 1},
		{"10.2.0.1", false, false, 1, -1},
		{"10.2.0.1", false, false, 9, 0},
		{"192.0.2.1", true, false, 1, -1},
		{"fd00::1", true, true, 1, -1},
		{"fd00::2", true, false, 9, 0},
		{"2001:db8::1", false, false, 1, -1},
	} {
		v := c.verdict(netip.MustParseAddr(w.addr))
		require.Equal(t, w.allowed, v.allowed, w.addr)
		require.Equal(t, w.peer, v.peer, w.addr)
		require.Equal(t, w.key, v.keyFor(withSSID(w.ssid)), "%s %d", w.addr, w.ssid)
	}
	for port, want := range map[uint16]bool{862: true, 9000: true, 8100: true, 8101: false, 65535: false, 0: false} {
		require.Equal(t, want, c.reflectors.has(port), port)
	}
}

func TestPolicyMistakes(t *testing.T) {
	_, err := compile(&Policy{Allow: []netip.Prefix{{}}, Auth: []Auth{{SSID: 1}, {SSID: 2, Key: testKey}, {}}}, nil)
	require.EqualError(t, err, "use key 1 of reflector: hmac key is empty\n"+
		"use key 3 of reflector: hmac key is empty\nuse prefix of reflector: not a prefix")
}
