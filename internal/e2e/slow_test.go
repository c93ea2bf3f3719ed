//go:build linux

package e2e

import (
	"strings"
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

// TestSlowsDownForAFullQueue: this host's own queue has no room for a part of what is due. The agent sends less for it and
// says why; what was not sent is told apart, and no loss.
func TestSlowsDownForAFullQueue(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	tool(t, h1, "tc", strings.Fields("qdisc add dev eth0 root tbf rate 24kbit burst 1600 limit 1000")...)
	times := "timeout: 2s, late: 3s, window: 1s" // a transmit stamp comes when the queue lets go of the probe
	r := (&running{host: h1, datapath: ", mode: socket", times: times}).begin(t, bothTargets(h2))
	r.logs(t, "reason=buffers")
	r.says(t, "collector_not_sent_slowed", 0)
	r.stop(t)
	lines := readLines(t, r.output)
	sum := pathToBoth(lines)
	reasons := reasonsOf(t, r)
	t.Logf("%+v %v", sum, reasons)
	require.Positive(t, reasons["no_buffer"])
	require.Greater(t, last(t, lines)["collector_slowdown"], int64(1))
	require.Equal(t, sum.NotSent, reasons["no_buffer"]+reasons["slowed"]+reasons["overrun"])
	require.Equal(t, sum.Sent, sum.Received+sum.Late)
}
