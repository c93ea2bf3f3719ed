package sink

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// Build is what llama_build_info says.
type Build struct{ Version, Go string }

// Metrics is what /metrics serves to Prometheus: the paths' counters and histograms,
// summed up over the windows, and the agent's own figures. Paths are summed up from
// the first scrape on: an agent that nobody scrapes keeps nothing for it. It is safe
// for concurrent use.
type Metrics struct {
	host    probe.Host
	agent   func() []AgentField
	handler http.Handler
	scraped atomic.Bool

	mu    sync.Mutex // protects the fields below
	tags  tagSet
	paths map[pathKey]*pathSums
	round uint64 // windows so far
	cut   uint64 // paths that found no room
}

// pathKey is what tells the series of two paths apart, but for tags.
type pathKey struct {
	dst, class string
	family     int
	clock      probe.Clock
}

// maxMetricPaths bounds what a scrape has to tell, at some 80 series a path: whoever has
// more paths pushes line protocol instead.
const maxMetricPaths = 10_000

// relabel is after how many windows a path's tags are looked at again.
const relabel = 3

// idleWindows is after how many windows without a probe the series of a path end.
const idleWindows = 3

// NewMetrics returns an empty Metrics of windows measured by host. agent returns the
// agent's own figures; it is called at each scrape.
func NewMetrics(host probe.Host, build Build, agent func() []AgentField) *Metrics {
	m := &Metrics{host: host, agent: agent, tags: newTagSet(), paths: make(map[pathKey]*pathSums)}
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "llama_build_info", Help: "The version of the agent, as labels; always 1.",
		ConstLabels: prometheus.Labels{"version": validLabel(build.Version), "goversion": build.Go},
	})
	info.Set(1)
	registry.MustRegister(m, info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// A scrape takes as long as there are paths: few at once, or they would be the agent's load.
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorHandling: promhttp.ContinueOnError})
	return m
}

// Add sums up a window. w is not used after the return.
func (m *Metrics) Add(w *probe.Window) {
	if !m.scraped.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.round++
	for i := range w.Paths {
		p := &w.Paths[i]
		key := pathKey{p.Dst, p.Class.Name, p.Family, p.Clock}
		s := m.paths[key]
		if s == nil {
			if len(m.paths) >= maxMetricPaths {
				m.cut++
				continue
			}
			s = &pathSums{}
			m.paths[key] = s
		}
		if s.labels == nil || m.round-s.labelled >= relabel {
			s.labels, s.labelled = m.labels(p), m.round
		}
		s.add(p, m.round)
	}
	for key, s := range m.paths {
		if m.round-s.round >= idleWindows {
			delete(m.paths, key)
		}
	}
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	m.scraped.Store(true)
	m.handler.ServeHTTP(rw, r)
}

// Describe describes nothing: tags, and so labels, differ from path to path.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect is called at each scrape.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, f := range m.agent() {
		out <- agentMetric(f)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out <- agentMetric(AgentInt("metrics_paths", int64(len(m.paths))))
	out <- agentMetric(AgentInt("metrics_paths_cut", int64(m.cut)))
	for _, s := range m.paths {
		s.collect(out)
	}
}
