package sink

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// Why a target is not probed on request.
var (
	ErrNotConfigured = errors.New("not configured")
	ErrNotAllowed    = errors.New("outside probing.allow")
	ErrBusy          = errors.New("busy")
)

// ProbeRequest is what /probe is asked for.
type ProbeRequest struct {
	Target  string
	Class   string // "": all that are configured
	Trusted bool   // it came with the token
}

// ProbeFunc measures a target anew. It returns within ctx, with [ErrNotConfigured],
// [ErrNotAllowed] or [ErrBusy] where it cannot begin. No path means that nothing could be sent.
type ProbeFunc func(ctx context.Context, r ProbeRequest) ([]probe.Path, error)

const (
	maxProbeTime = 10 * time.Second
	// scrapeReserve is what is left of the scraper's time for the way of the answer.
	scrapeReserve = 500 * time.Millisecond
)

// probeHandler answers /probe?target=NAME[&class=NAME] in the manner of Prometheus'
// blackbox exporter: by a measurement made for the one who asks, with the token if there is one.
func probeHandler(measure ProbeFunc, token string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		// A page elsewhere can have its visitor's browser ask, though it may not read the answer.
		if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "none" && from != "same-origin" {
			http.Error(rw, "requests of other origins are refused", http.StatusForbidden)
			return
		}
		if token != "" && !carries(r, token) {
			rw.Header().Set("WWW-Authenticate", `Bearer realm="llama-agent"`)
			http.Error(rw, "the token is missing or wrong: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		query := r.URL.Query()
		if len(query["target"]) != 1 || len(query["class"]) > 1 {
			http.Error(rw, "want one target=NAME, as configured, and at most one class=NAME", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), probeTime(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds")))
		defer cancel()
		begun := time.Now()
		paths, err := measure(ctx, ProbeRequest{Target: query.Get("target"), Class: query.Get("class"), Trusted: token != ""})
		switch {
		case errors.Is(err, ErrNotConfigured):
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		case errors.Is(err, ErrNotAllowed):
			http.Error(rw, err.Error(), http.StatusForbidden)
			return
		case errors.Is(err, ErrBusy):
			rw.Header().Set("Retry-After", "1")
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		case err != nil:
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		registry := probeRegistry(paths, time.Since(begun))
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rw, r)
	}
}

// probeTime is what a measurement may take for a scraper that waits so many seconds.
func probeTime(header string) time.Duration {
	seconds, err := strconv.ParseFloat(header, 64)
	if err != nil || !(seconds > 0) || seconds > maxProbeTime.Seconds() {
		return maxProbeTime - scrapeReserve
	}
	whole := time.Duration(seconds * float64(time.Second))
	return max(whole-scrapeReserve, whole/2)
}

// probeRegistry holds the figures of one measurement. It succeeded if anything came back in time.
func probeRegistry(paths []probe.Path, took time.Duration) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		registry.MustRegister(g)
		return g
	}
	success := gauge("probe_success", "1 if a reply came back in time, 0 if none did.").WithLabelValues()
	gauge("probe_duration_seconds", "How long the measurement took.").WithLabelValues().Set(took.Seconds())
	probes := gauge("llama_probe_probes", "Probes by how they ended; those not_sent are not among those sent.", "family", "class", "clock", "end")
	rtt := gauge("llama_probe_rtt_seconds", "Round trip without the reflector's time.", "family", "class", "clock", "stat")
	for i := range paths {
		p := &paths[i]
		labels := []string{strconv.Itoa(p.Family), validLabel(p.Class.Name), string(p.Clock)}
		if p.Received > 0 {
			success.Set(1)
		}
		for end, n := range map[string]uint64{
			"sent": p.Sent, "received": p.Received, "late": p.Late, "lost_forward": p.LostForward, "lost_reverse": p.LostReverse,
			"lost_unsplit": p.LostUnsplit, "refused": p.Refused, "unreachable": p.Unreachable, "local_drop": p.LocalDrop, "not_sent": p.NotSent,
		} {
			probes.WithLabelValues(append(labels, end)...).Add(float64(n))
		}
		if s, ok := p.RTT.Summary(); ok && p.Clock != probe.ClockMixed {
			for stat, ns := range map[string]float64{"min": s.Min, "mean": s.Mean, "p50": s.P50, "max": s.Max} {
				rtt.WithLabelValues(append(labels, stat)...).Set(ns / 1e9)
			}
		}
	}
	return registry
}
