package sink

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

func realQueue(t *testing.T, s *servers.Influx, db string, log *slog.Logger) *Queue {
	w, err := NewInflux(InfluxConfig{URL: s.URL, Database: db, Timeout: 5 * time.Second})
	require.NoError(t, err)
	return NewQueue(w, QueueOptions{RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond, Log: log})
}

func TestInflux1RealServer(t *testing.T) {
	s := servers.NewInflux16(t, nil)
	s.Query("", "CREATE DATABASE llama")
	q := realQueue(t, s, "llama", quiet())
	f := NewFanout(NewEncoder(testHost, EncoderOptions{Flows: true, Log: quiet()}), q)
	written := func(n uint64) func() bool { return func() bool { return q.Stats().Delivered.Lines == n } }

	// Values arrive as they were measured, text as it was configured.
	remarked, escaped := remarkedPath(), escapedPath()
	require.NoError(t, f.Window(window(remarked, escaped, lostPath())))
	require.Eventually(t, written(3), 10*time.Second, 5*time.Millisecond)
	rows := s.Query("llama", `SELECT * FROM llama_path WHERE "class" = 'ef'`)
	require.Len(t, rows, 1)
	for name, want := range map[string]string{
		"time": fmt.Sprint(testEnd.UnixNano()), "sent": "40", "lost": "9", "lost_forward": "4", "host_drops": "11",
		"rtt_min_us": "10", "rtt_max_us": "20.5", "jitter_us": "1.234", "dscp_reverse": "46", "clock": "kernel", "src_rack": "a1",
	} {
		require.Equal(t, want, rows[0][name], name)
	}
	rows = s.Query("llama", `SELECT * FROM llama_path WHERE "dst" = 'rack 1, unit=2'`)
	require.Len(t, rows, 1)
	for k, v := range escaped.DstTags {
		require.Equal(t, v, rows[0]["dst_"+k], k)
	}
	rows = s.Query("llama", `SELECT * FROM llama_path WHERE "lost" = 320`)
	require.Len(t, rows, 1)
	require.Equal(t, "1", rows[0]["loss_ratio"])
	require.NotContains(t, rows[0], "rtt_mean_us")

	// A server that is gone: the queue keeps, and delivers when it is back.
	s.Stop()
	later := window(flowPath())
	later.End = testEnd.Add(10 * time.Second)
	require.NoError(t, f.Window(later))
	require.Eventually(t, func() bool { return q.Stats().Retries >= 2 }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, uint64(3), q.Stats().Waiting.Lines)
	s.Start()
	require.Eventually(t, written(6), 20*time.Second, 5*time.Millisecond)
	rows = s.Query("llama", `SELECT sent, lost FROM llama_flow WHERE src_port = '24095'`)
	require.Equal(t, []map[string]any{{"time": fmt.Sprint(later.End.UnixNano()), "sent": "10", "lost": "10"}}, rows)
	require.NoError(t, f.Close(t.Context()))
	require.Equal(t, Tally{2, 6}, q.Stats().Delivered)
}

func TestInflux1RealServerRefusals(t *testing.T) {
	s := servers.NewInflux16(t, nil)
	var log syncBuffer
	q := realQueue(t, s, "nowhere", slog.New(slog.NewTextHandler(&log, nil)))
	q.Enqueue(batch("llama_path,src=a sent=1i 1\n"))
	require.Eventually(t, func() bool { return q.Stats().Errors[ErrorHTTP4xx] > 0 }, 30*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "CREATE DATABASE") }, 30*time.Second, 5*time.Millisecond)
	require.Contains(t, log.String(), `database \"nowhere\" is missing`)
	s.Query("", "CREATE DATABASE nowhere") // the mend
	require.NoError(t, q.Close(t.Context()))
	require.Equal(t, Tally{1, 1}, q.Stats().Delivered, "it was held, not lost")

	s.Query("", "CREATE DATABASE llama")
	q = realQueue(t, s, "llama", quiet())
	q.Enqueue(batch("llama_path,src=a sent=1i 1\nllama_path,src=a sent=1u 2\nllama_path,src=a sent=3i 3\n"))
	q.Enqueue(batch("llama_path,src=b sent=1i 1\nllama_path,src=b sent=2.5 2\nllama_path,src=b sent=3i 3\n"))
	require.NoError(t, q.Close(t.Context()))
	require.Equal(t, uint64(4), q.Stats().Delivered.Lines)
	require.Equal(t, uint64(2), q.Stats().Refused, "an unsigned field, which version 1 lacks, and one of another type")
	require.Len(t, s.Query("llama", "SELECT sent FROM llama_path"), 4)

	// All that the golden files hold is accepted, and no two lines are one point.
	files, err := filepath.Glob("testdata/*.golden")
	require.NoError(t, err)
	total := 0
	for i, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		db := fmt.Sprintf("golden%d", i)
		s.Query("", "CREATE DATABASE "+db)
		w, err := NewInflux(InfluxConfig{URL: s.URL, Database: db})
		require.NoError(t, err)
		require.NoError(t, w.Write(context.Background(), batch(string(data))), path)
		n := 0
		for _, measurement := range []string{"llama_path", "llama_flow", "llama_size"} {
			n += len(s.Query(db, "SELECT sent FROM "+measurement))
		}
		require.Equal(t, bytes.Count(data, []byte("\n")), n, path)
		total += n
	}
	require.Positive(t, total)
}
