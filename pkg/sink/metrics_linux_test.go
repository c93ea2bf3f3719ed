package sink

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/servers"
)

func newTestMetrics(fields ...AgentField) *Metrics {
	return NewMetrics(testHost, Build{Version: "v1.2.3", Go: "go1.26"}, func() []AgentField { return fields })
}

func page(t *testing.T, m *Metrics) string {
	t.Helper()
	rw := httptest.NewRecorder()
	m.ServeHTTP(rw, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, rw.Code, rw.Body)
	return rw.Body.String()
}

// metricsOf returns the metrics of one name.
func metricsOf(t *testing.T, m *Metrics, name string) []*dto.Metric {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(m))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric
		}
	}
	return nil
}

func TestMetricsPage(t *testing.T) {
	m := newTestMetrics(AgentInt("kernel_events", 7), AgentFloat("send_late_p99_us", 1500))
	w := window(plainPath(), remarkedPath(), lostPath())
	w.Paths[2].Dst = "reflector03"
	m.Add(w)
	require.NotContains(t, page(t, m), "llama_path_", "nobody had asked")
	m.Add(w)
	m.Add(w)
	text := page(t, m)
	const labels = `class="ef",clock="kernel",dst="reflector02",dst_cluster="bb",dst_datacenter="iad",dst_rack="01",family="4",src="a1-h1",src_cluster="aa",src_datacenter="iad",src_rack="a1"`
	for _, line := range []string{
		`llama_build_info{goversion="go1.26",version="v1.2.3"} 1`,
		`llama_agent_kernel_events 7`,
		`llama_agent_send_late_p99_seconds 0.0015`,
		`llama_agent_metrics_paths 3`,
		`llama_path_sent_total{` + labels + `} 80`,
		`llama_path_local_drop_total{` + labels + `} 4`,
		`llama_path_host_drops_total{` + labels + `} 22`,
		`llama_path_rtt_seconds_bucket{` + strings.Replace(strings.Replace(labels, `"ef"`, `"be"`, 1), `"kernel"`, `"socket"`, 1) + `,le="2e-05"} 6`,
		`llama_path_rtt_seconds_count{` + strings.Replace(strings.Replace(labels, `"ef"`, `"be"`, 1), `"kernel"`, `"socket"`, 1) + `} 8`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, text, `direction="forward"`)
	require.NotContains(t, text, `llama_path_rtt_seconds_count{class="be",clock="socket",dst="reflector03"`, "no reply: no round trip")

	check := exec.Command(servers.Program(t, "promtool"), "check", "metrics", "--extended")
	check.Stdin = strings.NewReader(text)
	out, err := check.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, lintOf(out))
}

// lintOf is what promtool objects to; the table that --extended prints is no objection.
func lintOf(out []byte) (lint []string) {
	for _, line := range bytes.Split(out, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("llama_")) && bytes.Contains(line, []byte(" should ")) {
			lint = append(lint, string(line))
		}
	}
	return lint
}

// Whatever the windows are, the page is their sum: every count is, and the histograms
// have each value in the bucket that is right for it within the stated error.
func TestMetricsAreTheSumOfTheWindows(t *testing.T) {
	m := newTestMetrics()
	page(t, m)
	random := rand.New(rand.NewPCG(1, 2))
	var values []float64
	var sent, received uint64
	for range 20 {
		p := plainPath()
		p.RTT = probe.Hist{}
		for range random.IntN(600) {
			ns := int64(math.Exp(random.Float64()*18) * 100) // 100 ns to 6 s
			p.RTT.Record(ns)
			values = append(values, float64(ns)/1e9)
		}
		p.Sent, p.Received = p.RTT.Count()+3, p.RTT.Count()
		sent, received = sent+p.Sent, received+p.Received
		m.Add(window(p))
	}
	require.Equal(t, float64(sent), metricsOf(t, m, "llama_path_sent_total")[0].Counter.GetValue())
	require.Equal(t, float64(received), metricsOf(t, m, "llama_path_received_total")[0].Counter.GetValue())
	h := metricsOf(t, m, "llama_path_rtt_seconds")[0].Histogram
	require.Equal(t, uint64(len(values)), h.GetSampleCount())
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	require.InEpsilon(t, sum, h.GetSampleSum(), 1e-9)

	between := func(low, high float64) (n uint64) { // above low, up to high
		for _, v := range values {
			if v > low && v <= high {
				n++
			}
		}
		return n
	}
	require.Len(t, h.Bucket, len(classicBounds))
	for _, b := range h.Bucket {
		require.GreaterOrEqual(t, b.GetCumulativeCount(), between(-1, b.GetUpperBound()*(1-2*probe.RelativeError)))
		require.LessOrEqual(t, b.GetCumulativeCount(), between(-1, b.GetUpperBound()*(1+2*probe.RelativeError)))
	}
	var all uint64
	for index, n := range nativeBuckets(h) {
		low, high := math.Exp2(float64(index-1)/8), math.Exp2(float64(index)/8)
		require.LessOrEqual(t, n, between(low*(1-2*probe.RelativeError), high*(1+2*probe.RelativeError)), "bucket %d", index)
		all += n
	}
	require.Equal(t, uint64(len(values)), all+h.GetZeroCount())
}

// nativeBuckets undoes the coding by spans and differences.
func nativeBuckets(h *dto.Histogram) map[int]uint64 {
	out := make(map[int]uint64)
	index, at := 0, 0
	var n int64
	for _, span := range h.PositiveSpan {
		index += int(span.GetOffset())
		for range span.GetLength() {
			n += h.PositiveDelta[at]
			at++
			out[index] = uint64(n)
			index++
		}
	}
	return out
}

// A path that is no longer probed ends, and the series that exist are bounded.
func TestMetricsEnd(t *testing.T) {
	m := newTestMetrics()
	page(t, m)
	m.Add(window(plainPath()))
	for i := range idleWindows {
		require.Len(t, metricsOf(t, m, "llama_path_sent_total"), 1, "window %d", i)
		m.Add(window())
	}
	require.Empty(t, metricsOf(t, m, "llama_path_sent_total"))
	many := window(make([]probe.Path, maxMetricPaths+5)...)
	for i := range many.Paths {
		many.Paths[i] = lostPath()
		many.Paths[i].Dst = fmt.Sprintf("r%d", i)
	}
	m.Add(many)
	require.Len(t, metricsOf(t, m, "llama_path_sent_total"), maxMetricPaths)
	require.Equal(t, 5.0, metricsOf(t, m, "llama_agent_metrics_paths_cut")[0].Untyped.GetValue())
}

// No name makes the page unreadable.
func TestMetricsHostileNames(t *testing.T) {
	for _, name := range []string{"a\nb", "\xff\xfe", "", " ", strings.Repeat("x", 10_000), `q"uo\te`, "=,", "__name__", "le", "1"} {
		m := NewMetrics(probe.Host{Name: "h", Tags: map[string]string{name: name, "r-k": "1", "r_k": "2"}},
			Build{Version: name}, func() []AgentField { return nil })
		page(t, m)
		p := plainPath()
		p.Dst, p.Class.Name = "d"+name, "c"+name
		p.DstTags = map[string]string{name: name}
		p.NotSentBy = []probe.Reason{{Name: name, Count: 1}}
		m.Add(window(p))
		text := page(t, m)
		check := exec.Command(servers.Program(t, "promtool"), "check", "metrics")
		check.Stdin = strings.NewReader(text)
		out, err := check.CombinedOutput()
		require.NoError(t, err, "%q: %s", name, out)
		require.Contains(t, text, "llama_path_sent_total{", "%q", name)
	}
}
