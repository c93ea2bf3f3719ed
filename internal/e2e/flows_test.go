//go:build linux

package e2e

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestLinesOfFlows: while the fabric drops probes of both flows, one has a line of its own in each window, which is all
// that is allowed, and the other is counted. Once nothing is lost any more these series end. Of eight equal paths two
// flows can be expected to have met a quarter, less what both may have met.
func TestLinesOfFlows(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	_, err := l.Fabric().Drop(lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Ratio: 0.5})
	require.NoError(t, err)
	r := (&running{
		host: h1, times: "timeout: 1s, late: 2s, window: 1s", probing: ", max_flow_lines: 1, flow_slow: 0, paths: [{count: 8}]",
	}).begin(t, oneTarget)
	r.writes(t, "one", 3)
	require.NoError(t, l.Fabric().Heal())
	_, n := pathTo(readLines(t, r.output), "one")
	r.writes(t, "one", n+4)
	r.stop(t)

	lines := readLines(t, r.output)
	flows := map[time.Time]int{}
	for _, x := range lines {
		if x.measurement != "llama_flow" {
			continue
		}
		flows[x.at]++
		require.Positive(t, x.ints["lost"])
		require.Equal(t, "10.77.2.2", x.tags["dst_addr"])
		require.Equal(t, "862", x.tags["dst_port"])
		port, err := strconv.Atoi(x.tags["src_port"])
		require.NoError(t, err)
		require.True(t, port >= 20000 && port <= 24095, "%d", port)
	}
	lossy, clean, cut := 0, 0, int64(0)
	for _, x := range lines {
		if x.measurement != "llama_path" {
			continue
		}
		if x.ints["lost"] == 0 {
			clean++
			require.Zero(t, flows[x.at], "%s", x.at)
			continue
		}
		lossy++
		require.Equal(t, 1, flows[x.at], "%s", x.at)
		cut += x.ints["flows_lossy"] - 1
	}
	require.GreaterOrEqual(t, lossy, 3)
	require.GreaterOrEqual(t, clean, 2)
	require.Positive(t, cut)
	require.Equal(t, cut, last(t, lines)["collector_flow_lines_cut"])
	met := map[int]float64{0: 0, 1: 1. / 8, 2: 15. / 64} // by the number of flows with a reply
	both := false
	for _, x := range lines {
		if x.measurement == "llama_path" {
			require.Contains(t, slices.Collect(maps.Values(met)), x.floats["path_coverage"])
			both = both || x.floats["path_coverage"] == met[2]
		}
	}
	require.True(t, both)
}
