package sink

import (
	"io"
	"net/http"
	"time"
)

// Handlers is what the API serves.
type Handlers struct {
	Latest *Latest
	// Health returns the reasons why the agent is not well; none: it is. It may be
	// called at any time. nil: always well.
	Health func() []string
	// Metrics is served to Prometheus; nil: not.
	Metrics *Metrics
	// Lists returns what became of the lists of targets, as JSON has it; nil: there is no
	// /status/lists.
	Lists func() any
	// Probe measures a target for /probe; nil: there is no /probe.
	Probe ProbeFunc
	// Token is asked for by /probe, which makes the agent act; "": it asks for none. What
	// only tells asks for none ever: old scrapers have none to give.
	Token string
	// Hosts are the names by which the API may be called, beside IP literals and
	// localhost: the listen host and what is configured.
	Hosts []string
}

// API returns the agent's read-only HTTP API:
//
//	/status        ok, as LLAMA's collector
//	/status/lists  what became of the lists of targets
//	/influxdata    the last window in the form of LLAMA's collector
//	/latency       the same in the form of the first, Python LLAMA
//	/probe         a measurement of a target, made for the one who asks
//	/healthz       200 or 503, with reasons
//	/metrics       for Prometheus
func API(h Handlers) http.Handler {
	if h.Health == nil {
		h.Health = func() []string { return nil }
	}
	if h.Latest == nil {
		h.Latest = &Latest{}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/status", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(rw, "ok") // the client may be gone: nothing to do about it
	})
	mux.HandleFunc("/influxdata", jsonHandler(h.Latest.Influx))
	mux.HandleFunc("/latency", jsonHandler(h.Latest.Latency))
	if h.Lists != nil {
		mux.HandleFunc("/status/lists", jsonHandler(func() ([]byte, error) { return encodeJSON(h.Lists()) }))
	}
	if h.Probe != nil {
		mux.HandleFunc("/probe", probeHandler(h.Probe, h.Token))
	}
	mux.HandleFunc("/healthz", func(rw http.ResponseWriter, _ *http.Request) { healthz(rw, h.Health()) })
	if h.Metrics != nil {
		mux.Handle("/metrics", h.Metrics)
	}
	return guard(newHostSet(h.Hosts), mux)
}

// NewServer returns an HTTP server for an API, with every wait and size bounded.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}

func jsonHandler(get func() ([]byte, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		body, err := get()
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(rw, http.StatusOK, body)
	}
}

func healthz(rw http.ResponseWriter, reasons []string) {
	answer := struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons"`
	}{"ok", []string{}}
	code := http.StatusOK
	if len(reasons) > 0 {
		answer.Status, answer.Reasons, code = "unhealthy", reasons, http.StatusServiceUnavailable
	}
	body, err := encodeJSON(answer)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(rw, code, body)
}

func writeJSON(rw http.ResponseWriter, code int, body []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	_, _ = rw.Write(body) // the client may be gone: nothing to do about it
}
