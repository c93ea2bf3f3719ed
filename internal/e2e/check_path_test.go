//go:build linux

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestCheckOfTheReversePath: answers come back by another interface than the route to the target leaves by. Where
// check names rp_filter, the kernel counts each of them as dropped; where it does not, they arrive.
func TestCheckOfTheReversePath(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflectOverSockets(t, h2)
	ip(t, h1, "link add up1 address 02:4c:00:00:01:77 type veth peer name up2")
	ip(t, h1, "link set up2 netns "+h2.NS)
	ip(t, h1, "addr add 10.88.0.1/24 dev up1")
	ip(t, h1, "link set up1 up")
	ip(t, h2, "addr add 10.88.0.2/24 dev up2")
	ip(t, h2, "link set up2 up")
	ip(t, h2, "neigh replace 10.88.0.1 lladdr 02:4c:00:00:01:77 dev up2") // questions for it would be filtered first
	ip(t, h2, "route add "+h1.IPv4.String()+"/32 via 10.88.0.1 src "+h2.IPv4.String())
	config := "datapath: {interfaces: [eth0, up1]}\n" + oneTarget
	filtered := func() int64 {
		var stat struct{ Kernel map[string]int64 }
		require.NoError(t, json.Unmarshal(tool(t, h1, "nstat", "--json", "--zeros", "--ignore", "--noupdate", "TcpExtIPReversePathFilter"), &stat))
		return stat.Kernel["TcpExtIPReversePathFilter"]
	}

	tool(t, h1, "sysctl", "-q", "-w", "net.ipv4.conf.up1.rp_filter=1")
	all := checkIn(t, h1, config)
	require.Empty(t, find(all, "rp_filter", "eth0"))
	found := find(all, "rp_filter", "up1")
	require.Len(t, found, 1)
	require.False(t, found[0].OK)
	require.Contains(t, found[0].Detail, h2.IPv4.String())
	r, status := ping(t, h1, load(1, 10, 20*time.Millisecond, "--mode", "socket", target(h2.IPv4))...)
	require.Equal(t, 1, status)
	require.Zero(t, r.Received)
	require.Positive(t, r.Sent)
	require.Equal(t, r.Sent, filtered())

	tool(t, h1, "sysctl", "-q", "-w", "net.ipv4.conf.up1.rp_filter=2")
	require.Empty(t, find(checkIn(t, h1, config), "rp_filter", "up1"))
	r, status = ping(t, h1, load(1, 10, 20*time.Millisecond, "--mode", "socket", target(h2.IPv4))...)
	require.Zero(t, status, "%+v", r.counts)
}

// TestCheckOfTheFirewall: what may drop is named, what cannot is not.
func TestCheckOfTheFirewall(t *testing.T) {
	t.Parallel()
	h := lab.ForTest(t, 1).Host(1)
	config := "targets:\n  one: {address: 10.77.2.2, port: 8862}\n"
	for _, c := range []struct{ rules, says string }{
		{"", ""},
		{"add chain inet e2e in { type filter hook input priority 0; policy drop; }",
			"inet e2e in (input) drops by policy, and no rule of its table accepts a port of ours"},
		{"add chain inet e2e in { type filter hook input priority 0; policy drop; }; add rule inet e2e in udp sport 8862 accept", ""},
		{"add chain inet e2e far { type filter hook forward priority 0; policy drop; }", ""},
		{"add chain inet e2e out { type filter hook output priority 0; }; add rule inet e2e out udp dport 8862 drop",
			"inet e2e out drops UDP port 8862"},
		{"add chain inet e2e out { type filter hook output priority 0; }; add rule inet e2e out udp dport 8000-9000 reject",
			"inet e2e out drops UDP port 8862"},
		{"add chain inet e2e pre { type filter hook prerouting priority 0; }; add rule inet e2e pre udp sport { 53, 8862 } drop",
			"inet e2e pre drops UDP port 8862"},
		{"add chain inet e2e called; add rule inet e2e called udp sport 8862 drop", "inet e2e called drops UDP port 8862"},
		{"add chain inet e2e in { type filter hook input priority 0; }; add rule inet e2e in tcp dport 8862 drop; " +
			"add rule inet e2e in udp dport 53 drop; add rule inet e2e in udp dport != 8862 drop", ""},
	} {
		nft(t, h, "add table inet e2e; delete table inet e2e; add table inet e2e; "+c.rules)
		f := find(checkIn(t, h, config), "firewall rules", "")
		require.Len(t, f, 1)
		require.Equal(t, c.says == "", f[0].OK, "%s: %s", c.rules, f[0].Detail)
		require.Contains(t, f[0].Detail, c.says, c.rules)
		require.False(t, strings.Contains(f[0].Detail, "unknown"), f[0].Detail)
	}
}
