package sink

import (
	"bytes"
	"log/slog"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

func TestEncodeValues(t *testing.T) {
	got := decode(t, encodeGolden(t, "remarked"))
	require.Len(t, got, 1)
	require.Equal(t, MeasurementPath, got[0].measurement)
	require.Equal(t, map[string]string{
		"src": "a1-h1", "dst": "reflector02", "family": "4", "class": "ef", "clock": "kernel",
		"src_rack": "a1", "src_cluster": "aa", "src_datacenter": "iad",
		"dst_rack": "01", "dst_cluster": "bb", "dst_datacenter": "iad",
	}, got[0].tags)
	f := got[0].fields
	for name, want := range map[string]any{
		"sent": int64(40), "received": int64(20), "late": int64(1), "lost": int64(9), "lost_forward": int64(4),
		"lost_reverse": int64(3), "lost_unsplit": int64(2), "refused": int64(5), "unreachable": int64(3),
		"local_drop": int64(2), "not_sent": int64(6), "duplicate": int64(7), "reordered": int64(8),
		"corrupted": int64(9), "host_drops": int64(11), "rtt_min_us": 10.0, "rtt_max_us": 20.5, "rtt_mean_us": 13.375,
		"jitter_us": 1.234, "hops_forward": int64(3), "dscp_forward": int64(0), "dscp_reverse": int64(46),
		"flows": int64(32), "flows_lossy": int64(3), "flows_path_changed": int64(2), "flows_remarked": int64(1),
	} {
		require.Equal(t, want, f[name], name)
	}
	require.InEpsilon(t, 9.0, f["responder_p99_us"], probe.RelativeError)
	require.InEpsilon(t, 11.0, f["rtt_p50_us"], probe.RelativeError)
}

func TestEncodeFlows(t *testing.T) {
	got := decode(t, encodeGolden(t, "flow_detail"))
	require.Len(t, got, 3)
	flow := got[1]
	require.Equal(t, MeasurementFlow, flow.measurement)
	want := map[string]string{"src_addr": "10.0.1.5", "dst_addr": "10.0.2.7", "src_port": "20000", "dst_port": "862"}
	for k, v := range got[0].tags {
		want[k] = v
	}
	require.Equal(t, want, flow.tags)
	require.Equal(t, int64(1), flow.fields["lost_forward"])
	require.Equal(t, int64(11), flow.fields["host_drops"], "the host's, as on the path's line")
	require.Equal(t, 0.1, flow.fields["loss_ratio"])
	require.Equal(t, 11.0, flow.fields["rtt_mean_us"])
	require.Equal(t, int64(4), flow.fields["hops_forward"])
	require.Equal(t, "24095", got[2].tags["src_port"])

	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	_, lines, err := e.Window(nil, goldenWindows()["flow_detail"])
	require.NoError(t, err)
	require.Equal(t, 1, lines, "flows only by choice")
}

func TestEncodeSizes(t *testing.T) {
	got := decode(t, encodeGolden(t, "swept"))
	require.Len(t, got, 5)
	require.Equal(t, int64(1400), got[0].fields["size_max"])
	require.Equal(t, int64(1500), got[0].fields["size_max_sent"], "what was not sent is not counted")
	require.InDelta(t, 1-math.Pow(15./16, 10), got[0].fields["path_coverage"], 1e-12)
	for name, want := range map[string]float64{
		"owd_forward_p50_us": 4, "owd_forward_p99_us": 6, "owd_reverse_p50_us": 6, "owd_reverse_p99_us": 12, "owd_error_us": 12.345,
	} {
		require.InEpsilon(t, want, got[0].fields[name], probe.RelativeError, name)
	}
	size := got[3]
	require.Equal(t, MeasurementSize, size.measurement)
	want := map[string]string{"size": "1500"}
	for k, v := range got[0].tags {
		want[k] = v
	}
	require.Equal(t, want, size.tags)
	require.Equal(t, map[string]any{"sent": int64(10), "received": int64(0)}, size.fields)

	p := sweptPath()
	p.Sizes = nil
	p.OneWay = nil
	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	out, _, err := e.Window(nil, window(p))
	require.NoError(t, err)
	require.NotContains(t, string(out), "size_max")
	require.NotContains(t, string(out), "owd_")

	p.FlowsAnswered = 0
	require.Equal(t, probe.Some(0), p.Coverage(), "no reply: no path is known to be covered")
	p.EqualPaths = 0
	require.False(t, p.Coverage().OK)
	p.EqualPaths, p.FlowsAnswered = 1, 1
	require.Equal(t, probe.Some(1), p.Coverage())
}

func TestEncodeMixedHasCountsOnly(t *testing.T) {
	for _, l := range decode(t, encodeGolden(t, "mixed")) {
		for name := range l.fields {
			require.NotContains(t, name, "_us")
		}
	}
	require.Contains(t, decode(t, encodeGolden(t, "mixed"))[0].fields, "hops_forward", "hops need no clock")
}

func TestEveryCountIsWritten(t *testing.T) {
	require.Equal(t, reflect.TypeFor[probe.Counts]().NumField(), len(countFields)+1, "host_drops is written apart")
	var c probe.Counts
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(100 + i))
	}
	seen := map[uint64]bool{c.HostDrops: true}
	for _, f := range countFields {
		seen[f.of(&c)] = true
	}
	require.Len(t, seen, v.NumField(), "two fields have one source")
}

// A line whose counts contradict each other is withheld, counted and logged once a
// minute; the lines around it are written.
func TestIdentityViolationIsWithheld(t *testing.T) {
	var log bytes.Buffer
	e := NewEncoder(testHost, EncoderOptions{Flows: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	now := testEnd
	e.now = func() time.Time { return now }
	sum := plainPath()
	sum.Sent++
	direction := lostPath()
	direction.LostForward++
	flow := flowPath()
	flow.FlowDetail[0].Received--
	w := window(sum, plainPath(), direction, flow)

	out, lines, err := e.Window([]byte("# kept\n"), w)
	require.ErrorContains(t, err, "3 lines withheld")
	require.ErrorContains(t, err, "sent 5 != received 4")
	require.True(t, bytes.HasPrefix(out, []byte("# kept\n")))
	got := decode(t, out)
	require.Len(t, got, lines)
	require.Equal(t, 3, lines)
	for _, l := range got {
		requireTrue(t, l)
	}
	require.Equal(t, EncoderStats{Lines: 3, Withheld: 3}, e.Stats())

	_, _, err = e.Window(nil, w)
	require.Error(t, err)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("lines withheld")))
	now = now.Add(time.Minute)
	_, _, _ = e.Window(nil, w)
	require.Equal(t, 2, bytes.Count(log.Bytes(), []byte("lines withheld")))
	require.Contains(t, log.String(), "similar_not_logged=1")
}

func TestTagsThatCannotBeWritten(t *testing.T) {
	host := probe.Host{Name: "h\n1", Tags: map[string]string{"addr": "would collide", "": "nameless", "ok": "yes"}}
	e := NewEncoder(host, EncoderOptions{Log: quiet()})
	p := plainPath()
	p.DstTags = map[string]string{
		"empty": "", "newline": "a\nb", "trail": `x\\`, "only": `\`, "bad": "a\xffb", "sep": `a\,b`, "new\nkey": "1", "new\tkey": "2",
		"port": "would collide",
	}
	out, lines, err := e.Window(nil, window(p))
	require.NoError(t, err)
	require.Equal(t, 1, lines)
	tags := decode(t, out)[0].tags
	for k, v := range map[string]string{
		"src": "h_1", "src_ok": "yes", "dst_newline": "a_b", "dst_bad": "a\ufffdb", "dst_sep": "a_,b", "dst_new_key": "1", "dst_trail": "x_",
	} {
		require.Equal(t, v, tags[k], k)
	}
	for _, k := range []string{"src_addr", "src_", "dst_empty", "dst_only", "dst_port"} {
		require.NotContains(t, tags, k)
	}
	s := e.Stats()
	require.Equal(t, uint64(6), s.TagsDropped, "addr, nameless, empty, only, port, one of two equal keys")
	require.Zero(t, s.Withheld)
	require.Positive(t, s.TagsSanitised)
}

func TestLineWithoutIdentityIsWithheld(t *testing.T) {
	for name, spoil := range map[string]func(*probe.Path){
		"dst":    func(p *probe.Path) { p.Dst = "" },
		"family": func(p *probe.Path) { p.Family = 5 },
		"class":  func(p *probe.Path) { p.Class.Name = `\` },
		"clock":  func(p *probe.Path) { p.Clock = "" },
	} {
		e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
		p := plainPath()
		spoil(&p)
		out, lines, err := e.Window(nil, window(p))
		require.ErrorContains(t, err, "do not name a series", name)
		require.Empty(t, out)
		require.Zero(t, lines)
		require.Equal(t, uint64(1), e.Stats().Withheld)
	}
}

func TestWhatIsNoNumberIsLeftOut(t *testing.T) {
	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	p := plainPath()
	p.Jitter = probe.Some(math.NaN())
	p.HopsForward = probe.Some(math.Inf(1))
	p.Sent, p.Received = math.MaxUint64, math.MaxUint64
	out, _, err := e.Window(nil, window(p))
	require.NoError(t, err)
	f := decode(t, out)[0].fields
	require.NotContains(t, f, "jitter_us")
	require.NotContains(t, f, "hops_forward")
	require.Equal(t, int64(math.MaxInt64), f["sent"])
	require.Equal(t, uint64(2), e.Stats().FieldsInvalid)
}

func TestTimeIsNeverLeftOut(t *testing.T) {
	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	w := window(plainPath())
	w.End = time.Time{}
	out, _, err := e.Window(nil, w)
	require.ErrorContains(t, err, "no end")
	require.Empty(t, out)
	w.End = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) // beyond 64 bits of nanoseconds
	out, _, err = e.Window(nil, w)
	require.ErrorContains(t, err, "withheld")
	require.Empty(t, out)
	_, _, err = e.Agent(nil, &AgentStats{Fields: []AgentField{AgentInt("x", 1)}})
	require.ErrorContains(t, err, "no time")
}

func TestAgentLine(t *testing.T) {
	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	out, lines, err := e.Agent(nil, &AgentStats{Time: testEnd, Fields: []AgentField{
		AgentInt("reflector_refused", 3), AgentFloat("cpu_seconds", 1.5), AgentInt("Bad Name", 1), AgentFloat("nan", math.NaN()),
	}})
	require.NoError(t, err)
	require.Equal(t, 1, lines)
	require.Equal(t, "llama_agent,src=a1-h1,src_cluster=aa,src_datacenter=iad,src_rack=a1 reflector_refused=3i,cpu_seconds=1.5 1772366410000000000\n", string(out))
	require.Equal(t, uint64(2), e.Stats().FieldsInvalid)
	out, _, err = e.Agent(nil, &AgentStats{Time: testEnd})
	require.Error(t, err, "a line has at least one field")
	require.Empty(t, out)
}

// A line costs no allocation, with its quantiles or without.
func TestEncodeAllocations(t *testing.T) {
	e := NewEncoder(testHost, EncoderOptions{Flows: true, Log: quiet()})
	w := window(flowPath(), plainPath(), lostPath(), remarkedPath())
	buf, _, err := e.Window(nil, w)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() { buf, _, _ = e.Window(buf[:0], w) }))
}

func BenchmarkEncodePath(b *testing.B) {
	e := NewEncoder(testHost, EncoderOptions{Log: quiet()})
	w := window(plainPath())
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _, _ = e.Window(buf[:0], w)
	}
}
