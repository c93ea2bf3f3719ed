//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/servers"
)

const scrapeConfig = `
global: {scrape_interval: 300ms, scrape_timeout: 300ms}
scrape_configs:
  - job_name: llama
    static_configs: [{targets: ["127.0.0.1:5000"]}]
`

// promSample asks for the one value of a query at a time; ok is false where there is none.
func promSample(t testing.TB, p *servers.Prometheus, at time.Time, query string) (v float64, ok bool) {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	body := p.Get("/api/v1/query", url.Values{"query": {query}, "time": {fmt.Sprintf("%.3f", float64(at.UnixMilli())/1e3)}})
	require.NoError(t, json.Unmarshal(body, &answer), "%s", body)
	if len(answer.Data.Result) == 0 {
		return 0, false
	}
	require.Len(t, answer.Data.Result, 1, "%s: %s", query, body)
	v, err := strconv.ParseFloat(answer.Data.Result[0].Value[1].(string), 64)
	require.NoError(t, err)
	return v, true
}

// TestPrometheusScrapes: what a real Prometheus has of a path is the sum of what line protocol says of its windows, from the
// first scrape on. A path that is no longer configured ends.
func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	reflect(t, l.Host(2))
	_, err := l.Fabric().Drop(lab.Rule{From: l.Host(1), To: l.Host(2), DstPort: lab.DefaultReflectorPort, Every: 7})
	require.NoError(t, err)
	const good = "targets:\n  good: {address: 10.77.2.2, rack: r2}\n"
	r := run(t, l.Host(1), good+"  gone: {address: 10.77.2.2, port: 8622}\n")
	p := servers.NewPrometheus(t, l.Host(1), scrapeConfig)
	sent := func(dst string) (float64, bool) {
		return promSample(t, p, time.Now(), fmt.Sprintf("llama_path_sent_total{dst=%q,src_rack=\"r1\",clock=~\"kernel|socket\"}", dst))
	}
	eventually(t, func() bool { v, ok := sent("good"); return ok && v > 200 }, "sent to good")
	_, ok := sent("gone")
	require.True(t, ok)

	at := time.Now().Add(-time.Second) // of one scrape, whenever it was
	var got [5]float64
	for i, query := range []string{
		`llama_path_sent_total{dst="good",dst_rack="r2"}`, `llama_path_received_total{dst="good"}`, `llama_path_lost_total{dst="good",direction="forward"}`,
		`histogram_count(llama_path_rtt_seconds{dst="good"})`, `histogram_sum(llama_path_rtt_seconds{dst="good"})`,
	} {
		got[i], ok = promSample(t, p, at, query)
		require.True(t, ok, query)
	}
	var windows [][5]float64
	for _, l := range readLines(t, r.output) {
		if l.measurement == "llama_path" && l.tags["dst"] == "good" {
			received := float64(l.ints["received"])
			windows = append(windows, [5]float64{float64(l.ints["sent"]), received, float64(l.ints["lost_forward"]), received,
				received * l.floats["rtt_mean_us"] / 1e6})
		}
	}
	require.True(t, sumOfSome(windows, got), "%v is no sum of %v", got, windows)
	median, ok := promSample(t, p, at, `histogram_quantile(0.5, llama_path_rtt_seconds{dst="good"})`)
	require.True(t, ok)
	require.Greater(t, median, 0.0)
	v, ok := promSample(t, p, at, `llama_agent_collector_replies`)
	require.True(t, ok)
	require.Greater(t, v, 0.0)

	_, page := r.get(t, "/metrics")
	check := exec.Command(servers.Program(t, "promtool"), "check", "metrics")
	check.Stdin = strings.NewReader(page)
	out, err := check.CombinedOutput()
	require.NoError(t, err, "promtool: %s", out)
	for l := range strings.Lines(string(out)) {
		require.False(t, strings.HasPrefix(l, "llama_"), l)
	}

	r.configure(t, good)
	r.signal(t, syscall.SIGHUP)
	eventually(t, func() bool { _, page := r.get(t, "/metrics"); return !strings.Contains(page, `dst="gone"`) }, "the end of gone")
	_, page = r.get(t, "/metrics")
	require.Contains(t, page, `dst="good"`)
}

// sumOfSome tells whether want is the sum of windows that follow each other. The mean that a line has is exact to a nanosecond.
func sumOfSome(windows [][5]float64, want [5]float64) bool {
	for from := range windows {
		var sum [5]float64
		for _, w := range windows[from:] {
			for i := range sum {
				sum[i] += w[i]
			}
			exact := sum
			exact[4] = want[4]
			if exact == want && math.Abs(sum[4]-want[4]) <= sum[3]*1e-9 {
				return true
			}
		}
	}
	return false
}
