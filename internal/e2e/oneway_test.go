//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// reflectBy starts a `run` that only reflects, in the kernel, by that configuration.
func reflectBy(t testing.TB, h *lab.Host, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "%sdatapath: {pin: %s}\n", config, newPin()), 0o600))
	startAgent(t, h, "llama-agent runs", "run", "--config", file).logs(t, "mode=tc")
}

// TestOneWayDelays: hosts of the lab have one clock, so that both ways are above 0 and their sum is the RTT. A
// reflector whose stamps may be TAI or UTC gets no figures.
func TestOneWayDelays(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
	reflectBy(t, h2, "host: {clock_error: 10us}\n")
	reflectBy(t, h3, "host: {clock_error: 10us}\nreflector: {timestamps: ptp}\n")
	r := (&running{host: h1, probing: ", one_way: true", self: ", clock_error: 40us"}).begin(t, "targets:\n  one: {address: 10.77.2.2}\n  ptp: {address: 10.77.3.2}\n")
	r.writes(t, "one", 3)
	r.stop(t)
	lines := readLines(t, r.output)
	seen := 0
	for _, x := range lines {
		if x.measurement != "llama_path" || x.ints["received"] == 0 {
			continue
		}
		f := x.floats
		if x.tags["dst"] == "ptp" {
			require.NotContains(t, f, "owd_forward_p50_us")
			require.NotContains(t, f, "owd_error_us")
			continue
		}
		seen++
		require.Positive(t, f["owd_forward_p50_us"])
		require.Positive(t, f["owd_reverse_p50_us"])
		require.LessOrEqual(t, f["owd_forward_p50_us"], f["owd_forward_p99_us"])
		require.LessOrEqual(t, f["owd_reverse_p50_us"], f["owd_reverse_p99_us"])
		require.InDelta(t, 50, f["owd_error_us"], 1)
		require.LessOrEqual(t, f["owd_forward_p50_us"], f["rtt_max_us"]*1.01)
		require.LessOrEqual(t, f["owd_reverse_p50_us"], f["rtt_max_us"]*1.01)
	}
	require.Positive(t, seen)
	require.Positive(t, last(t, lines)["collector_one_way_unknown"])
}
