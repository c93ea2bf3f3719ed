package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.806: "0.81", 12.34: "12.3", 345.6: "346", 2000: "2000", 9876.5: "9876",
		10_000: "10,000", 1_234_567: "1,234,567",
	} {
		require.Equal(t, want, number(v))
	}
}

func TestSpread(t *testing.T) {
	require.Equal(t, "-", spread(nil))
	require.Equal(t, "7", spread([]float64{7, 7}))
	require.Equal(t, "2 (1–9)", spread([]float64{9, 1, 2}))
	require.Equal(t, "3 (1–9)", spread([]float64{9, 1, 2, 4}))
}

// Rounds are paired, and what was not measured has no ratio.
func TestRatios(t *testing.T) {
	require.Equal(t, []float64{0.5, 2}, ratios([]float64{1, 4, 3}, []float64{2, 2}))
	require.Empty(t, ratios([]float64{1, 0}, []float64{0, 5}))
}

func TestTable(t *testing.T) {
	var tab table
	m := tab.metric("speed", "≥ 0.80 of a peer")
	m.add(ours, 8)
	m.add("a peer", 10)
	m.add(ours, 9)
	m.add("a peer", 10)
	tab.metric("other", "").add("a name that is longer than its column was made", 3)
	tab.note("once")
	tab.note("once")
	var out strings.Builder
	tab.print(&out, 2, time.Minute)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")[2:]
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	require.Equal(t, []string{
		"speed [reach: ≥ 0.80 of a peer]",
		"llama-agent 8.50 (8–9)",
		"a peer 10 0.85 (0.80–0.90)",
		"other",
		"a name that is longer than its column was made 3",
		"",
		"once",
	}, lines)
}

func TestReadTotals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(path, []byte(`llama_path,dst=a,src=h sent=10i,received=7i,lost=2i,late=1i,local_drop=0i,not_sent=5i,rtt_p50_us=3.5 1
llama_path,dst=b,src=h sent=5i,received=5i,lost=0i,late=0i,local_drop=0i,not_sent=0i 1
llama_agent,src=h sent=99i 1
`), 0o600))
	got, err := readTotals(path)
	require.NoError(t, err)
	require.Equal(t, int64(15), got["sent"])
	require.Equal(t, int64(3), got.trouble())
	require.InDelta(t, 25, got.notSent(), 1e-9)

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = readTotals(path)
	require.Error(t, err)
}

func TestQuantiles(t *testing.T) {
	v := make([]float64, 100)
	for i := range v {
		v[i] = float64(100 - i)
	}
	p50, p99, err := quantiles(v)
	require.NoError(t, err)
	require.Equal(t, 51.0, p50)
	require.Equal(t, 100.0, p99)
	_, _, err = quantiles(nil)
	require.Error(t, err)
}
