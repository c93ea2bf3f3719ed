//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
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
    authorization: {credentials: %s}
    static_configs: [{targets: [one, silent, "10.77.2.2:862", "10.77.2.2:8622"]}]
    relabel_configs:
      - {source_labels: [__address__], target_label: __param_target}
      - {source_labels: [__param_target], target_label: dst}
      - {target_label: __address__, replacement: "127.0.0.1:5000"}
`

const apiToken = "f00dcafe0123456789abcdef"

// TestProbesOnRequest: a real Prometheus has targets measured, some that are not configured, beside the agent's own
// probes, which do not notice. Without the token, or outside what is allowed, nothing is.
func TestProbesOnRequest(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(apiToken+"\n"), 0o600))
	r := runProbing(t, h1, ", allow: [10.77.0.0/16]", oneTarget+"  silent: {address: 10.77.2.2, port: 8622}\napi: {probe_any: true, token_file: "+token+"}\n")
	p := servers.NewPrometheus(t, h1, fmt.Sprintf(probeConfig, apiToken))
	value := func(query string) (v float64, ok bool) { return promSample(t, p, time.Now(), query) }
	eventually(t, func() bool { v, ok := value(`probe_success{dst="one"}`); return ok && v == 1 }, "success")
	for dst, success := range map[string]float64{"silent": 0, "10.77.2.2:862": 1, "10.77.2.2:8622": 0} {
		eventually(t, func() bool { v, ok := value(fmt.Sprintf(`probe_success{dst=%q}`, dst)); return ok && v == success }, "success of %s", dst)
	}
	for _, query := range []string{
		`llama_probe_probes{dst="one",class="be",family="4",end="received"}`, `llama_probe_rtt_seconds{dst="one",stat="p50"}`, `probe_duration_seconds{dst="silent"}`,
		`llama_probe_probes{dst="silent",end="unreachable"}`,
	} {
		v, ok := value(query)
		require.True(t, ok, query)
		require.Positive(t, v, query)
	}
	for query, code := range map[string]int{
		"": 400, "?target=": 400, "?target=one&class=ef": 400, "?target=10.77.2.2:0": 400, "?target=" + strings.Repeat("a", 10_000): 400,
		"?target=127.0.0.1": 403, "?target=localhost:5000": 403, "?target=10.78.0.1": 403, "?target=one": 200,
	} {
		status, _ := r.get(t, "/probe"+query)
		require.Equal(t, 401, status, query)
		status, _ = r.ask(t, "/probe"+query, "Bearer "+apiToken[1:])
		require.Equal(t, 401, status, query)
		status, body := r.ask(t, "/probe"+query, "Bearer "+apiToken)
		require.Equal(t, code, status, "%.100s: %s", query, body)
		require.Less(t, len(body), 4096)
	}
	status, _ := r.get(t, "/status")
	require.Equal(t, 200, status)
	r.stop(t)
	sum, _ := pathTo(readLines(t, r.output), "one")
	requireAllBack(t, &sum)
	require.Zero(t, strings.Count(r.log.String(), "level=ERROR"), fmt.Sprint(&r.log))
}
