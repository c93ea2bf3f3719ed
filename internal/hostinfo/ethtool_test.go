//go:build linux

package hostinfo

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// values parses what ethtool prints as "name: value", the first of each name if first, else the last.
func values(out string, first bool) map[string]string {
	v := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^[ \t]*([A-Za-z][\w .-]*):[ \t]*(.*?)[ \t]*$`).FindAllStringSubmatch(out, -1) {
		if _, have := v[m[1]]; !have || !first {
			v[m[1]] = m[2]
		}
	}
	return v
}

// ethtoolNames are the older names of some offloads, which ethtool prints.
var ethtoolNames = map[string]string{OffloadLRO: "large-receive-offload", OffloadVLANRx: "rx-vlan-offload", "rx-checksum": "rx-checksumming"}

// sameAsEthtool compares what we read of one interface with ethtool's own output.
func sameAsEthtool(t *testing.T, h *lab.Host, i Interface) {
	t.Helper()
	if i.Kind != "lo" { // which has no driver
		driver := values(tool(t, h, "ethtool", "-i", i.Name), true)
		require.NotEmpty(t, i.Driver)
		require.Equal(t, driver["driver"], i.Driver)
		require.Equal(t, driver["bus-info"], i.Bus)
	}

	features := values(tool(t, h, "ethtool", "-k", i.Name), true)
	require.Len(t, i.Offloads, len(offloadNames))
	for _, o := range i.Offloads {
		name := o.Name
		if older := ethtoolNames[name]; older != "" {
			name = older
		}
		want := onOff(o.On)
		if o.Fixed {
			want += " [fixed]"
		}
		// "[requested …]" is what ethtool adds where a lower or upper device decided otherwise.
		require.Equal(t, strings.TrimSpace(regexp.MustCompile(`\[requested.*`).ReplaceAllString(features[name], "")), want, "%s of %s", name, i.Name)
	}
	stamps := tool(t, h, "ethtool", "-T", i.Name)
	require.NotNil(t, i.Stamps)
	require.Equal(t, strings.Contains(stamps, "hardware-receive"), i.Stamps.HardwareRx)
	require.Equal(t, strings.Contains(stamps, "hardware-transmit"), i.Stamps.HardwareTx)
	require.Equal(t, strings.Contains(stamps, "software-transmit"), i.Stamps.SoftwareTx)
	require.Equal(t, !regexp.MustCompile(`(?i)(hardware clock|provider index): none`).MatchString(stamps), i.Stamps.PHC != nil, stamps)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func TestInterfaceAsEthtoolSays(t *testing.T) {
	h := stack(t)
	for _, i := range readIn(t, h, nil, stackNames...) {
		sameAsEthtool(t, h, i)
	}
}

// TestOffloadsThatChange: what is read is the state of now.
func TestOffloadsThatChange(t *testing.T) {
	h := stack(t)
	for _, on := range []bool{true, false} {
		tool(t, h, "ethtool", "-K", "p0", "rxvlan", onOff(on), "tx", onOff(on))
		i := readIn(t, h, nil, "p0")["p0"]
		for _, name := range []string{OffloadVLANRx, "tx-checksum-ip-generic"} {
			o, known := i.Offload(name)
			require.True(t, known, name)
			require.Equal(t, Offload{Name: name, On: on}, o)
		}
		sameAsEthtool(t, h, i)
	}
	i := readIn(t, h, nil, "p0")["p0"]
	_, known := i.Offload("no-such-offload")
	require.False(t, known)
}

func TestChannelsAsEthtoolSays(t *testing.T) {
	h := stack(t)
	i := readIn(t, h, nil, "p0")["p0"]
	require.NotNil(t, i.Channels)
	require.Equal(t, 3, i.RxQueues)
	require.Equal(t, 2, i.TxQueues)
	now := values(tool(t, h, "ethtool", "-l", "p0"), false)
	most := values(tool(t, h, "ethtool", "-l", "p0"), true)
	for name, n := range map[string][2]int{"RX": {i.Channels.Rx, i.Channels.MaxRx}, "TX": {i.Channels.Tx, i.Channels.MaxTx},
		"Combined": {i.Channels.Combined, i.Channels.MaxCombined}} {
		require.Equal(t, number(now[name]), fmt.Sprint(n[0]), name)
		require.Equal(t, number(most[name]), fmt.Sprint(n[1]), name)
	}
	// A bridge has none, and what the kernel allocated stands in.
	bridge := readIn(t, h, nil, "br0")["br0"]
	require.Nil(t, bridge.Channels)
	require.Equal(t, 1, bridge.RxQueues)
}

func number(s string) string {
	if s == "n/a" {
		return "0"
	}
	return s
}

// TestRealInterfacesAsEthtoolSays is of this machine's own, whatever they are.
func TestRealInterfacesAsEthtoolSays(t *testing.T) {
	links, err := netlink.LinkList()
	require.NoError(t, err)
	r, err := Open()
	require.NoError(t, err)
	defer r.Close()
	for _, l := range links {
		i, err := r.Interface(l.Attrs().Name)
		if err != nil {
			require.ErrorIs(t, err, ErrNoInterface) // it went meanwhile
			continue
		}
		sameAsEthtool(t, nil, i)
		usecs := "n/a"
		if i.Moderation != nil && i.Moderation.RxUsecs != nil {
			usecs = fmt.Sprint(*i.Moderation.RxUsecs)
		}
		if i.Moderation == nil {
			continue // ethtool fails likewise
		}
		c := values(tool(t, nil, "ethtool", "-c", i.Name), true)
		require.Equal(t, c["rx-usecs"], usecs)
		if a := i.Moderation.AdaptiveRx; a != nil {
			require.Contains(t, c["Adaptive RX"], onOff(*a))
		}
	}
}
