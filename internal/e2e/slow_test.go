//go:build linux

package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestSlowsItselfDown: an agent that may take next to nothing of the CPU sends less and less, says so, and
// still counts what it sends without a mistake.
func TestSlowsItselfDown(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	r := runProbing(t, h1, ", max_cpu: 0.0001", oneTarget)
	r.logs(t, "probing slows down")
	r.writes(t, "one", 8)
	r.stop(t)
	left := requests(t, tap)
	lines := readLines(t, r.output)
	sum, _ := pathTo(lines, "one")
	require.Equal(t, left["10.77.2.2"], sum.Sent)
	requireAllBack(t, &sum)
	own := last(t, lines)
	require.Contains(t, []int64{2, 4, 8, 16}, own["collector_slowdown"])
	require.Positive(t, own["collector_not_sent_slowed"])
	require.Equal(t, own["collector_not_sent_slowed"]+own["collector_not_sent_overrun"], sum.NotSent)
}
