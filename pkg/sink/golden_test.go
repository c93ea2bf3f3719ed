package sink

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// line is a decoded line.
type line struct {
	measurement string
	tags        map[string]string
	keys        []string // of the tags, as they stood
	fields      map[string]any
	at          time.Time
}

func decode(t testing.TB, data []byte) (out []line) {
	t.Helper()
	d := lineprotocol.NewDecoderWithBytes(data)
	for d.Next() {
		m, err := d.Measurement()
		require.NoError(t, err)
		l := line{measurement: string(m), tags: map[string]string{}, fields: map[string]any{}}
		for {
			k, v, err := d.NextTag()
			require.NoError(t, err)
			if k == nil {
				break
			}
			l.keys = append(l.keys, string(k))
			l.tags[string(k)] = string(v)
		}
		for {
			k, v, err := d.NextField()
			require.NoError(t, err)
			if k == nil {
				break
			}
			require.NotContains(t, l.fields, string(k), "a field stands twice")
			l.fields[string(k)] = v.Interface()
		}
		l.at, err = d.Time(lineprotocol.Nanosecond, time.Time{})
		require.NoError(t, err)
		out = append(out, l)
	}
	require.NoError(t, d.Err())
	return out
}

func encodeGolden(t *testing.T, name string) []byte {
	t.Helper()
	e := NewEncoder(testHost, EncoderOptions{Flows: true, Log: quiet()})
	w := goldenWindows()[name]
	out, lines, err := e.Window(nil, w)
	require.NoError(t, err)
	want := len(w.Paths)
	for i := range w.Paths {
		want += len(w.Paths[i].FlowDetail) + len(w.Paths[i].Sizes)
	}
	require.Equal(t, want, lines)
	require.Equal(t, EncoderStats{Lines: uint64(want)}, e.Stats())
	return out
}

func TestGolden(t *testing.T) {
	for name := range goldenWindows() {
		t.Run(name, func(t *testing.T) {
			got := encodeGolden(t, name)
			path := filepath.Join("testdata", name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
}

// What is in the golden files is read back by the library's decoder: both
// identities hold on every line, tags are sorted and not empty, the time is the
// window's end, and counts are integers.
func TestGoldenRoundTrip(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	require.NoError(t, err)
	require.Len(t, files, len(goldenWindows()))
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, l := range decode(t, data) {
			requireTrue(t, l)
		}
	}
}

func requireTrue(t testing.TB, l line) {
	t.Helper()
	n := func(name string) int64 {
		v, ok := l.fields[name].(int64)
		require.True(t, ok, "%s of %v is no integer", name, l)
		return v
	}
	require.True(t, l.at.Equal(testEnd), "time %s", l.at)
	require.IsIncreasing(t, append([]string{""}, l.keys...))
	for k, v := range l.tags {
		require.NotEmpty(t, v, k)
	}
	if l.measurement == MeasurementSize {
		require.LessOrEqual(t, n("received"), n("sent"))
		require.Len(t, l.fields, 2)
		return
	}
	require.Equal(t, n("sent"), n("received")+n("late")+n("lost")+n("refused")+n("unreachable")+n("local_drop"))
	require.Equal(t, n("lost"), n("lost_forward")+n("lost_reverse")+n("lost_unsplit"))
	require.GreaterOrEqual(t, n("host_drops"), int64(0))
	if heard := n("sent") - n("local_drop"); heard == 0 {
		require.NotContains(t, l.fields, "loss_ratio")
	} else {
		require.InDelta(t, float64(n("lost"))/float64(heard), l.fields["loss_ratio"], 1e-12)
	}
	if n("received") == 0 || l.tags["clock"] == "mixed" {
		for _, f := range []string{"rtt_min_us", "rtt_mean_us", "rtt_p50_us", "rtt_p90_us", "rtt_p99_us", "rtt_p999_us", "rtt_max_us", "jitter_us"} {
			require.NotContains(t, l.fields, f)
		}
	} else {
		require.LessOrEqual(t, l.fields["rtt_min_us"], l.fields["rtt_p50_us"])
		require.LessOrEqual(t, l.fields["rtt_p50_us"], l.fields["rtt_max_us"])
	}
}
