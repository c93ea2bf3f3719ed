//go:build linux

package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// portUnreachables is how many ICMP errors the host's stack has sent to say that something cannot be reached.
func portUnreachables(t *testing.T, h *lab.Host) int64 {
	t.Helper()
	return kernelCount(t, h, "IcmpOutDestUnreachs") + kernelCount(t, h, "Icmp6OutDestUnreachs")
}

// TestReceiverDies by kill -9. Its programs answer on until their lease is out; from then on its host refuses each
// probe, by its kernel's own count, which is what is unreachable. Nothing is lost, and no direction is blamed.
func TestReceiverDies(t *testing.T) {
	eachEmission(t, emissions[:3], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		far := runWith(t, h2, ", mode: tc, lease: 5s", "targets: {}\n")
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		near := e.begin(t, l, h1, "timeout: 1s, late: 5s, window: 1s", bothTargets(h2))
		near.writes(t, "six", 1)
		far.kill(t)
		eventually(t, func() bool { return portUnreachables(t, h2) > 100 }, "the host refuses probes")
		_, n := pathTo(readLines(t, near.output), "six")
		far.start(t)
		near.writes(t, "six", n+4)
		near.stop(t)
		records, err := tap.Stop()
		require.NoError(t, err)
		truth := lab.RTTTruth(records, lab.TruthOptions{})
		sum := pathToBoth(readLines(t, near.output))
		refused := portUnreachables(t, h2)
		t.Logf("refused by the far host %d: %+v", refused, sum)
		require.EqualValues(t, truth.Requests, sum.Sent)
		require.EqualValues(t, len(truth.RTTs), sum.Received+sum.Late)
		require.Equal(t, refused, sum.Unreachable)
		require.Equal(t, sum.Sent, sum.Received+sum.Late+sum.Unreachable+sum.LostUnsplit)
		require.LessOrEqual(t, sum.LostUnsplit, int64(4), "what nobody took while the next one began: one of each flow")
	})
}
