//go:build linux

package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestHaltedAgentLosesNothing: the agent stands still for 2 s, longer than a probe is remembered, or not that long.
// The network went on, and the fabric's tap says that it answered all.
func TestHaltedAgentLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name, times string
		emissions   []emission
	}{
		{"longer than late", runTimes, emissions},
		{"shorter than late", "timeout: 400ms, late: 6s, window: 1s", emissions[:2]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachEmission(t, c.emissions, func(t *testing.T, e emission) {
				t.Parallel()
				l := lab.ForTest(t, 2)
				h1, h2 := l.Host(1), l.Host(2)
				reflect(t, h2)
				tap, err := l.Fabric().Tap(h1)
				require.NoError(t, err)
				near := e.begin(t, l, h1, c.times, bothTargets(h2))
				near.writes(t, "six", 1)
				near.halt(t)
				time.Sleep(2 * time.Second)
				near.signal(t, syscall.SIGCONT)
				_, n := pathTo(readLines(t, near.output), "six")
				near.writes(t, "six", n+4)
				near.stop(t)
				records, err := tap.Stop()
				require.NoError(t, err)
				truth := lab.RTTTruth(records, lab.TruthOptions{})
				lines := readLines(t, near.output)
				sum := pathToBoth(lines)
				t.Logf("%+v", sum)
				require.Zero(t, truth.Unanswered+truth.Duplicates+truth.Strays, "%+v", sum)
				require.EqualValues(t, truth.Requests, sum.Sent)
				require.Zero(t, sum.Lost+sum.Refused+sum.Unreachable+sum.LocalDrop, "%+v", sum)
				var slow int64 // of this machine's network, not of the agent
				for _, x := range truth.RTTs {
					if x.Network > 100*time.Millisecond {
						slow++
					}
				}
				require.LessOrEqual(t, sum.Late, slow)
				require.Equal(t, sum.NotSent, reasonsOf(t, near)["overrun"])
				require.Greater(t, sum.NotSent, int64(100), "4 flows for 2 s")
			})
		})
	}
}
