package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// snapshot is one window with its two JSON forms, each made when first asked for.
type snapshot struct {
	end     time.Time
	influx  func() ([]byte, error)
	latency func() ([]byte, error)
}

func newSnapshot(end time.Time, points []point) *snapshot {
	return &snapshot{
		end:     end,
		influx:  sync.OnceValues(func() ([]byte, error) { return encodeJSON(points) }),
		latency: sync.OnceValues(func() ([]byte, error) { return encodeJSON(latencies(points)) }),
	}
}

// Influx returns what /influxdata answers: an array, empty before the first window.
func (l *Latest) Influx() ([]byte, error) {
	if s := l.snapshot.Load(); s != nil {
		return s.influx()
	}
	return []byte("[]\n"), nil
}

// Latency returns what /latency answers, in the form of the first, Python LLAMA.
func (l *Latest) Latency() ([]byte, error) {
	if s := l.snapshot.Load(); s != nil {
		return s.latency()
	}
	return []byte("[]\n"), nil
}

type latency struct {
	Tags map[string]string `json:"tags"`
	Data []datum           `json:"data"`
}

// datum is ["rtt", 0.227798, 1600000000]: name, value, seconds since 1970.
type datum struct {
	name  string
	value number
	at    int64
}

// MarshalJSON writes the datum as an array.
func (d datum) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%q,%.6f,%d]", d.name, float64(d.value), d.at), nil
}

func latencies(points []point) []latency {
	out := make([]latency, 0, len(points))
	for _, p := range points {
		l := latency{Tags: p.Tags, Data: []datum{}}
		for _, name := range []string{"rtt", "loss"} {
			if v, ok := p.Fields[name]; ok {
				l.Data = append(l.Data, datum{name, v, p.Time.Unix()})
			}
		}
		out = append(out, l)
	}
	return out
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is served as JSON and as nothing else
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode last window: %w", err)
	}
	return b.Bytes(), nil
}
