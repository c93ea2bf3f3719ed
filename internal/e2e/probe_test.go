//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/servers"
)

// probeConfig is the example of docs/operating.md with shorter times.
const probeConfig = `
scrape_configs:
  - job_name: llama-probe
    metrics_path: /probe
    scrape_interval: 3s
    scrape_timeout: 3s
    static_configs: [{targets: [one, silent]}]
    relabel_configs:
      - {source_labels: [__address__], target_label: __param_target}
      - {source_labels: [__param_target], target_label: dst}
      - {target_label: __address__, replacement: "127.0.0.1:5000"}
`

// TestProbesOnRequest: a real Prometheus has targets measured, beside the agent's own probes, which do not notice.
func TestProbesOnRequest(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	r := run(t, h1, oneTarget+"  silent: {address: 10.77.2.2, port: 8622}\n")
	p := servers.NewPrometheus(t, h1, probeConfig)
	value := func(query string) (v float64, ok bool) { return promSample(t, p, time.Now(), query) }
	eventually(t, func() bool { v, ok := value(`probe_success{dst="one"}`); return ok && v == 1 }, "success")
	eventually(t, func() bool { v, ok := value(`probe_success{dst="silent"}`); return ok && v == 0 }, "no success")
	for _, query := range []string{
		`llama_probe_probes{dst="one",class="be",family="4",end="received"}`, `llama_probe_rtt_seconds{dst="one",stat="p50"}`, `probe_duration_seconds{dst="silent"}`,
		`llama_probe_probes{dst="silent",end="unreachable"}`,
	} {
		v, ok := value(query)
		require.True(t, ok, query)
		require.Positive(t, v, query)
	}
	for _, query := range []string{"", "?target=", "?target=10.77.2.2", "?target=two", "?target=one&class=ef"} {
		status, body := r.get(t, "/probe"+query)
		require.Equal(t, 400, status, "%s: %s", query, body)
	}
	r.stop(t)
	sum, _ := pathTo(readLines(t, r.output), "one")
	requireAllBack(t, &sum)
	require.Zero(t, strings.Count(r.log.String(), "level=ERROR"), fmt.Sprint(&r.log))
}
