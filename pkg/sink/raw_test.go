package sink

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// oldPoint is a point as the scraper of Dropbox's LLAMA decodes it, which it hands on whole.
type oldPoint struct {
	Fields      map[string]float64 `json:"fields"`
	Tags        map[string]string  `json:"tags"`
	Time        time.Time          `json:"time"`
	Measurement string             `json:"measurement"`
}

// The old scraper gets the fields that it had from old collectors, and no others.
func TestOldScraperDecodesInfluxdata(t *testing.T) {
	l := NewLatest(testHost)
	l.Set(window(plainPath(), remarkedPath(), v6Path()))
	rec := get(API(Handlers{Latest: l}), "/influxdata")
	var points []oldPoint
	dec := json.NewDecoder(rec.Body)
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&points))
	require.Len(t, points, 3)
	for _, p := range points {
		require.Equal(t, "raw_stats", p.Measurement)
		require.Equal(t, testEnd, p.Time)
		require.Len(t, p.Fields, 4)
		for _, name := range []string{"loss", "lost", "rtt", "sent"} {
			require.Contains(t, p.Fields, name)
		}
		for _, name := range []string{"src_ip", "dst_ip"} {
			require.Contains(t, p.Tags, name)
		}
	}
	require.InDelta(t, points[1].Fields["lost"]/points[1].Fields["sent"]*100, points[1].Fields["loss"], 1e-6)
}

// Two classes to one target were one series of LLAMA's: here no two points share all tags.
func TestClassesAreSeriesOfTheirOwn(t *testing.T) {
	be, ef, mixed := plainPath(), plainPath(), plainPath()
	ef.Class = probe.Class{Name: "ef", DSCP: 46}
	mixed.Clock = probe.ClockMixed
	l := NewLatest(testHost)
	l.Set(window(be, ef, mixed, v6Path()))
	body, err := l.Influx()
	require.NoError(t, err)
	var points []oldPoint
	require.NoError(t, json.Unmarshal(body, &points))
	seen := map[string]bool{}
	for _, p := range points {
		tags, err := json.Marshal(p.Tags)
		require.NoError(t, err)
		require.False(t, seen[string(tags)], "%s", tags)
		seen[string(tags)] = true
	}
	require.Len(t, seen, 4)
}

func TestRawLines(t *testing.T) {
	e := NewEncoder(probe.Host{Name: "a1-h1", Tags: map[string]string{"rack": "a1"}}, EncoderOptions{Log: quiet()})
	p := plainPath()
	p.DstTags = map[string]string{"dst_cluster": "bb", "my tag": "1, 2", "time": "noon"}
	out, lines, err := e.Raw(nil, window(p, zeroPath()))
	require.NoError(t, err)
	require.Equal(t, 1, lines)
	require.Equal(t, `raw_stats,class=be,clock=socket,dst=reflector02,dst_cluster=bb,dst_ip=10.0.2.7,dst_my\ tag=1\,\ 2,dst_time=noon,family=4,`+
		`my\ tag=1\,\ 2,src=a1-h1,src_ip=10.0.1.5,src_rack=a1 loss=0,lost=0,rtt=0.013375,sent=4 1772366410000000000`+"\n", string(out))
	require.Equal(t, uint64(1), e.Stats().TagsDropped, "a tag that is called time is none to InfluxDB")
}

// Points of anyone become lines, or are counted.
func TestPoints(t *testing.T) {
	fields := []AgentField{AgentFloat("rtt", 1.5), AgentInt("up", 1)}
	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	out, lines, err := e.Points(nil, []Point{
		{"rtt", map[string]string{"a": "x\ny", "b": "", "_field": "f"}, fields, testEnd},
		{"ra w", nil, fields, testEnd},
		{"rtt\nx 1", nil, fields, testEnd},
		{"", nil, fields, testEnd},
		{"rtt", nil, fields, time.Time{}},
		{"rtt", nil, []AgentField{AgentFloat("a b", 1)}, testEnd},
		{"rtt", nil, nil, testEnd},
	})
	require.ErrorContains(t, err, "5 lines withheld")
	require.Equal(t, 2, lines)
	require.Equal(t, "rtt,a=x_y rtt=1.5,up=1i 1772366410000000000\nra\\ w rtt=1.5,up=1i 1772366410000000000\n", string(out))
	require.Equal(t, EncoderStats{Lines: 2, Withheld: 5, TagsSanitised: 1, TagsDropped: 2, FieldsInvalid: 1}, e.Stats())
}

// gathered is an output that keeps what it gets.
type gathered struct{ strings.Builder }

func (g *gathered) Name() string                { return "gathered" }
func (g *gathered) Enqueue(b Batch)             { g.Write(b.Data) }
func (g *gathered) Stats() Stats                { return Stats{} }
func (g *gathered) Close(context.Context) error { return nil }

// measurements are those of the lines gathered, in order.
func (g *gathered) measurements() (all []string) {
	for line := range strings.Lines(g.String()) {
		name, _, _ := strings.Cut(line, ",")
		all = append(all, name)
	}
	return all
}

// Each output has its windows in its own schema, and the rest as all have it.
func TestSchemas(t *testing.T) {
	var llama, raw, both gathered
	f := NewFanout(NewEncoder(testHost, EncoderOptions{Log: quiet()}),
		WithSchema(&llama, SchemaLlama), WithSchema(&raw, SchemaRaw), WithSchema(&both, SchemaBoth))
	require.NoError(t, f.Window(window(plainPath())))
	require.NoError(t, f.Agent(&AgentStats{Time: testEnd, Fields: []AgentField{AgentInt("up", 1)}}))
	require.NoError(t, f.Points([]Point{{"rtt", map[string]string{"a": "b"}, []AgentField{AgentFloat("value", 1)}, testEnd}}))
	require.Equal(t, []string{"llama_path", "llama_agent", "rtt"}, llama.measurements())
	require.Equal(t, []string{"raw_stats", "llama_agent", "rtt"}, raw.measurements())
	require.Equal(t, []string{"llama_path", "raw_stats", "llama_agent", "rtt"}, both.measurements())
	require.NoError(t, f.Reopen())
}
