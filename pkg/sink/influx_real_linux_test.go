package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// influxd is a real InfluxDB 1.x on loopback with folders of its own.
type influxd struct {
	t    *testing.T
	bin  string
	conf string
	url  string
	cmd  *exec.Cmd
}

func newInfluxd(t *testing.T) *influxd {
	bin, err := exec.LookPath("influxd")
	if err != nil {
		if os.Getenv("LLAMA_TEST_NOSKIP") != "" {
			t.Fatal("needs influxd: apt-get install influxdb")
		}
		t.Skip("needs influxd: apt-get install influxdb")
	}
	dir := t.TempDir()
	addr, rpc := freeAddr(t), freeAddr(t)
	s := &influxd{t: t, bin: bin, conf: filepath.Join(dir, "influxdb.conf"), url: "http://" + addr}
	conf := fmt.Sprintf("reporting-disabled = true\nbind-address = %q\n[meta]\ndir = %q\n[data]\ndir = %q\nwal-dir = %q\n[http]\nbind-address = %q\n",
		rpc, dir+"/meta", dir+"/data", dir+"/wal", addr)
	require.NoError(t, os.WriteFile(s.conf, []byte(conf), 0o600))
	s.start()
	t.Cleanup(s.stop)
	return s
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (s *influxd) start() {
	s.cmd = exec.Command(s.bin, "-config", s.conf)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(s.t, s.cmd.Start())
	require.Eventually(s.t, func() bool {
		resp, err := http.Get(s.url + "/ping")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusNoContent
	}, 30*time.Second, 20*time.Millisecond, "influxd does not answer")
}

func (s *influxd) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	_ = s.cmd.Wait() // the exit status of a server that was told to stop says nothing
	s.cmd = nil
}

// query returns the rows of the first series that InfluxQL gives back, by column.
func (s *influxd) query(db, q string) []map[string]any {
	resp, err := http.PostForm(s.url+"/query?epoch=ns", url.Values{"db": {db}, "q": {q}})
	require.NoError(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	var doc struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	require.NoError(s.t, dec.Decode(&doc), string(body))
	require.Len(s.t, doc.Results, 1, string(body))
	require.Empty(s.t, doc.Results[0].Error)
	var rows []map[string]any
	for _, series := range doc.Results[0].Series {
		for _, v := range series.Values {
			row := map[string]any{}
			for i, c := range series.Columns {
				if n, ok := v[i].(json.Number); ok {
					row[c] = n.String()
				} else if v[i] != nil {
					row[c] = v[i]
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func realQueue(t *testing.T, s *influxd, db string, log *slog.Logger) *Queue {
	w, err := NewInflux(InfluxConfig{URL: s.url, Database: db, Timeout: 5 * time.Second})
	require.NoError(t, err)
	return NewQueue(w, QueueOptions{RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond, Log: log})
}

func TestInflux1RealServer(t *testing.T) {
	s := newInfluxd(t)
	s.query("", "CREATE DATABASE llama")
	q := realQueue(t, s, "llama", quiet())
	f := NewFanout(NewEncoder(testHost, EncoderOptions{Flows: true, Log: quiet()}), q)
	written := func(n uint64) func() bool { return func() bool { return q.Stats().Delivered.Lines == n } }

	// Values arrive as they were measured, text as it was configured.
	remarked, escaped := remarkedPath(), escapedPath()
	require.NoError(t, f.Window(window(remarked, escaped, lostPath())))
	require.Eventually(t, written(3), 10*time.Second, 5*time.Millisecond)
	rows := s.query("llama", `SELECT * FROM llama_path WHERE "class" = 'ef'`)
	require.Len(t, rows, 1)
	for name, want := range map[string]string{
		"time": fmt.Sprint(testEnd.UnixNano()), "sent": "40", "lost": "9", "lost_forward": "4", "host_drops": "11",
		"rtt_min_us": "10", "rtt_max_us": "20.5", "jitter_us": "1.234", "dscp_reverse": "46", "clock": "kernel", "src_rack": "a1",
	} {
		require.Equal(t, want, rows[0][name], name)
	}
	rows = s.query("llama", `SELECT * FROM llama_path WHERE "dst" = 'rack 1, unit=2'`)
	require.Len(t, rows, 1)
	for k, v := range escaped.DstTags {
		require.Equal(t, v, rows[0]["dst_"+k], k)
	}
	rows = s.query("llama", `SELECT * FROM llama_path WHERE "lost" = 320`)
	require.Len(t, rows, 1)
	require.Equal(t, "1", rows[0]["loss_ratio"])
	require.NotContains(t, rows[0], "rtt_mean_us")

	// A server that is gone: the queue keeps, and delivers when it is back.
	s.stop()
	later := window(flowPath())
	later.End = testEnd.Add(10 * time.Second)
	require.NoError(t, f.Window(later))
	require.Eventually(t, func() bool { return q.Stats().Retries >= 2 }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, uint64(3), q.Stats().Waiting.Lines)
	s.start()
	require.Eventually(t, written(6), 20*time.Second, 5*time.Millisecond)
	rows = s.query("llama", `SELECT sent, lost FROM llama_flow WHERE src_port = '24095'`)
	require.Equal(t, []map[string]any{{"time": fmt.Sprint(later.End.UnixNano()), "sent": "10", "lost": "10"}}, rows)
	require.NoError(t, f.Close(t.Context()))
	require.Equal(t, Tally{2, 6}, q.Stats().Delivered)
}

func TestInflux1RealServerRefusals(t *testing.T) {
	s := newInfluxd(t)
	var log bytes.Buffer
	q := realQueue(t, s, "nowhere", slog.New(slog.NewTextHandler(&log, nil)))
	q.Enqueue(batch("llama_path,src=a sent=1i 1\n"))
	require.NoError(t, q.Close(t.Context()))
	require.Equal(t, uint64(1), q.Stats().Refused)
	require.Contains(t, log.String(), `database \"nowhere\" is missing`)
	require.Contains(t, log.String(), `CREATE DATABASE`)

	s.query("", "CREATE DATABASE llama")
	w, err := NewInflux(InfluxConfig{URL: s.url, Database: "llama"})
	require.NoError(t, err)
	err = w.Write(context.Background(), batch("llama_path,src=a sent=1u 1\n"))
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "server answered 400")

	// All that the golden files hold is accepted, and no two lines are one point.
	files, err := filepath.Glob("testdata/*.golden")
	require.NoError(t, err)
	total := 0
	for i, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		db := fmt.Sprintf("golden%d", i)
		s.query("", "CREATE DATABASE "+db)
		w, err := NewInflux(InfluxConfig{URL: s.url, Database: db})
		require.NoError(t, err)
		require.NoError(t, w.Write(context.Background(), batch(string(data))), path)
		n := 0
		for _, measurement := range []string{"llama_path", "llama_flow", "llama_size"} {
			n += len(s.query(db, "SELECT sent FROM "+measurement))
		}
		require.Equal(t, bytes.Count(data, []byte("\n")), n, path)
		total += n
	}
	require.Positive(t, total)
}
