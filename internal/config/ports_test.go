package config

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSourcePortsAreStable(t *testing.T) {
	r := PortRange{20000, 24095}
	// Written down once: a change would move every flow of every fleet to other paths.
	require.Equal(t, []uint16{22160, 23039, 21039, 24014}, SourcePorts("a1-h1", 4, r))
	require.Equal(t, SourcePorts("a", 100, r)[:32], SourcePorts("a", 32, r))
	require.NotEqual(t, SourcePorts("a", 8, r), SourcePorts("b", 8, r))
}

func TestSourcePortsAreDistinctAndWithin(t *testing.T) {
	for _, r := range []PortRange{{20000, 20000}, {1024, 1055}, {65530, 65535}, {1024, 65535}} {
		ports := SourcePorts("h", r.Size()+5, r)
		require.Len(t, ports, r.Size())
		slices.Sort(ports)
		for i, p := range ports {
			require.Equal(t, int(r.Lo)+i, int(p))
		}
	}
	require.Empty(t, SourcePorts("h", -1, PortRange{1024, 2048}))
	require.Empty(t, SourcePorts("h", 5, PortRange{}))
}

// The first 32 ports of 4,000 hosts: 128,000 in 4,096 ports, 31.25 each.
func TestSourcePortsSpread(t *testing.T) {
	r := PortRange{20000, 24095}
	uses := make([]float64, r.Size())
	low := map[uint16]int{} // of the two lowest bits, which a linear ECMP hash may see alone
	for i := range 4000 {
		for _, p := range SourcePorts(fmt.Sprintf("host-%d", i), 32, r) {
			uses[p-r.Lo]++
			low[p&3]++
		}
	}
	const mean = 31.25
	chi := 0.0
	for _, n := range uses {
		chi += (n - mean) * (n - mean) / mean
	}
	// Chi-squared with 4,095 degrees: mean 4095, standard deviation 90.5.
	require.InDelta(t, 4095, chi, 5*90.5)
	for bits := range uint16(4) {
		require.InDelta(t, 32000, low[bits], 1000)
	}
}

func TestDSCP(t *testing.T) {
	for s, want := range map[string]uint8{
		"0": 0, "63": 63, "7": 7, "be": 0, "cs0": 0, "le": 1, "cs1": 8, "af11": 10, "af12": 12, "af13": 14,
		"af23": 22, "af31": 26, "AF43": 38, "af41": 34, "cs5": 40, "va": 44, "EF": 46, "cs7": 56,
	} {
		got, ok := DSCP(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "64", "-1", "256", "+5", "0x2e", "010", "cs8", "af14", "af51", "af10", "e f"} {
		_, ok := DSCP(s)
		require.False(t, ok, s)
	}
	require.Len(t, dscpNames, 4+8+12)
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"port", "port", 0}, {"prot", "port", 1}, {"adress", "address", 1}, {"kitten", "sitting", 3}, {"hots", "host", 1}} {
		require.Equal(t, c.want, distance(c.a, c.b), c)
		require.Equal(t, c.want, distance(c.b, c.a), c)
	}
	require.Empty(t, nearest("rack", []string{"port", "key", "tags", "ssid"}))
	require.Equal(t, "ssid", nearest("sid", []string{"port", "key", "tags", "ssid"}))
}
