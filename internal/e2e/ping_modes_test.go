//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestPingModes: each place of the stamps can be asked for by name, on the same path, and leaves nothing behind.
func TestPingModes(t *testing.T) {
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	require.NoError(t, l.Fabric().PassXDP(h1))
	reflect(t, h2)
	for _, c := range []struct{ mode, clock string }{
		{"socket", "socket"}, {"tc", "kernel"}, {"generic", "kernel"}, {"native", "kernel"}, {"auto", "kernel"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			for _, six := range []bool{false, true} {
				r, status := ping(t, h1, load(4, 50, 10*time.Millisecond, "--mode", c.mode, "--dscp", "ef", target(h2.Addr(six)))...)
				require.Zero(t, status)
				require.Equal(t, c.clock, r.Clock)
				require.Equal(t, r.allReceived(200), r.counts)
				require.NotNil(t, r.RTT)
				require.Positive(t, r.RTT.Min)
				one, dscp := 1, ef
				require.Equal(t, ways{&one, &one}, r.Hops)
				require.Equal(t, ways{&dscp, &dscp}, r.DSCP.ways)
				t.Logf("ipv6 %v: p50 %.1f µs, p99 %.1f µs", six, r.RTT.P50, r.RTT.P99)
			}
		})
	}
}

// TestPingBesideAnAgent: XDP by name is refused where an agent has the interface, whose own measuring goes on; TC is not.
func TestPingBesideAnAgent(t *testing.T) {
	m := measure(t, "native")
	m.near.writes(t, "four", 2)
	p := startPing(t, m.h1, load(1, 5, 10*time.Millisecond, "--mode", "native", target(m.h2.IPv4))...)
	_, status := p.wait(t)
	require.Equal(t, 2, status, "stderr: %s", &p.stderr)
	require.Contains(t, p.stderr.String(), "llama_xdp")
	r, status := ping(t, m.h1, load(2, 50, 10*time.Millisecond, "--mode", "tc", target(m.h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, "kernel", r.Clock)
	require.Equal(t, r.allReceived(100), r.counts)
	m.near.writes(t, "four", 5)
	m.near.stop(t)
	sums := byClock(readLines(t, m.near.output))
	require.Len(t, sums, 1)
	sum := sums["kernel"]
	requireAllBack(t, &sum)
}
