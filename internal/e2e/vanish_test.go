//go:build linux

package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// passes counts the probes that the fabric has from one host to the other, and their replies.
func passes(t *testing.T, l *lab.Lab, from, to *lab.Host) (there, back *lab.Fault) {
	t.Helper()
	lab.Require(t, lab.Nftables)
	there, err := l.Fabric().Count(lab.Rule{From: from, To: to, DstPort: lab.DefaultReflectorPort})
	require.NoError(t, err)
	back, err = l.Fabric().Count(lab.Rule{From: to, To: from, SrcPort: lab.DefaultReflectorPort})
	require.NoError(t, err)
	return there, back
}

// TestRouteVanishes, and comes back. What the fabric counted is what was sent, and it answered all. Meanwhile the agent
// looks its targets up anew, and finds no way to them; those of the other route do not feel it.
func TestRouteVanishes(t *testing.T) {
	eachEmission(t, emissions[:3], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 3)
		h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
		reflect(t, h2)
		reflect(t, h3)
		routes := []string{"10.77.2.0/24 via 10.77.1.1", "fd77:0:0:2::/64 via fd77:0:0:1::1"}
		for _, r := range append([]string{"10.77.3.0/24 via 10.77.1.1", "fd77:0:0:3::/64 via fd77:0:0:1::1"}, routes...) {
			ip(t, h1, "route add "+r)
		}
		ip(t, h1, "-4 route del default")
		ip(t, h1, "-6 route del default")
		there, back := passes(t, l, h1, h2)
		near := e.begin(t, l, h1, "", bothTargets(h2)+fmt.Sprintf("  beside: {address: %s}\n  beside6: {address: \"%s\"}\n", h3.IPv4, h3.IPv6))
		near.writes(t, "six", 1)
		for _, r := range routes {
			ip(t, h1, "route del "+r)
		}
		near.signal(t, syscall.SIGHUP)
		near.logs(t, "configuration loaded")
		near.says(t, "collector_not_sent_no_route", 100)
		for _, r := range routes {
			ip(t, h1, "route add "+r)
		}
		_, n := pathTo(readLines(t, near.output), "six")
		near.writes(t, "six", n+4)
		near.stop(t)

		lines := readLines(t, near.output)
		sum, reasons := pathToBoth(lines), reasonsOf(t, near)
		t.Logf("%+v %v", sum, reasons)
		require.Equal(t, hits(t, there), sum.Sent)
		require.Equal(t, hits(t, back), sum.Received+sum.Late)
		requireAllBack(t, &sum)
		for _, dst := range []string{"beside", "beside6"} {
			c, _ := pathTo(lines, dst)
			requireAllBack(t, &c)
			require.LessOrEqual(t, c.NotSent, reasons["overrun"], dst)
			sum.NotSent += c.NotSent
		}
		require.Equal(t, sum.NotSent, reasons["no_route"]+reasons["overrun"])
		require.Len(t, byClock(lines), 1, "as before")
		for _, dst := range []string{"four", "six"} {
			c, _ := pathTo(lines[len(lines)-10:], dst)
			require.Positive(t, c.Received, dst)
		}
	})
}
