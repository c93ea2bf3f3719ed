package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// snapshot is one window with its two JSON forms, each made when first asked for.
type snapshot struct {
	end     time.Time
	influx  func() ([]byte, error)
	latency func() ([]byte, error)
}

func newSnapshot(end time.Time, points []Point) *snapshot {
	return &snapshot{
		end:     end,
		influx:  sync.OnceValues(func() ([]byte, error) { return encodeJSON(influxes(points)) }),
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

// number is written with six decimals, always: LLAMA's scraper writes fields as
// floats and its database would refuse one that was an integer at first.
type number float64

// MarshalJSON writes the number.
func (n number) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'f', 6, 64), nil
}

// influx is a point of Dropbox's Go collector.
type influx struct {
	Fields      map[string]number `json:"fields"`
	Tags        map[string]string `json:"tags"`
	Time        time.Time         `json:"time"`
	Measurement string            `json:"measurement"`
}

func influxes(points []Point) []influx {
	out := make([]influx, len(points))
	for i, p := range points {
		fields := make(map[string]number, len(p.Fields))
		for _, f := range p.Fields {
			fields[f.Name] = number(f.Float)
		}
		out[i] = influx{Fields: fields, Tags: p.Tags, Time: p.Time, Measurement: p.Measurement}
	}
	return out
}

// latency is a target of the Python collector.
type latency struct {
	Tags map[string]string `json:"tags"`
	Data []datum           `json:"data"`
}

// datum is ["rtt", 0.227798, 1600000000]: name, value, seconds since 1970. A value that
// there is none of is null, as the Python collector has it before its first one.
type datum struct {
	name  string
	value *number
	at    int64
}

// MarshalJSON writes the datum as an array.
func (d datum) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{d.name, d.value, d.at})
}

func latencies(points []Point) []latency {
	out := make([]latency, len(points))
	for i, p := range points {
		rtt, loss := datum{name: "rtt", at: p.Time.Unix()}, datum{name: "loss", at: p.Time.Unix()}
		for _, f := range p.Fields {
			v := number(f.Float)
			switch f.Name {
			case "rtt":
				rtt.value = &v
			case "loss":
				loss.value = &v
			}
		}
		out[i] = latency{Tags: p.Tags, Data: []datum{rtt, loss}}
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
