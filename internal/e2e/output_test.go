//go:build linux

package e2e

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestPingOutputs: the same measurement as text and as line protocol.
func TestPingOutputs(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	fault, err := l.Fabric().Drop(lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Every: 5})
	require.NoError(t, err)
	said := func(output string) string {
		ctx, cancel := context.WithTimeout(context.Background(), pingMost)
		defer cancel()
		args := append([]string{"ping", "--mode", "socket", "--output", output}, load(1, 21, 30*time.Millisecond, target(h2.IPv4))...)
		out, err := command(ctx, h1, args...).CombinedOutput()
		require.Equal(t, 1, exitStatus(t, err), "beyond --max-loss 0: %s", out)
		return string(out)
	}
	text := said("text")
	before := hits(t, fault)
	for _, want := range []string{"10.77.2.2:862", "lost forward ", "rtt ", "responder ", "clock socket", "hops      there 1, back 1"} {
		require.Contains(t, text, want)
	}
	file := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(file, []byte(said("influx")), 0o600))
	lines := readLines(t, file)
	sum, n := pathTo(lines, target(h2.IPv4))
	require.Equal(t, 1, n)
	require.Positive(t, sum.LostForward)
	require.Equal(t, hits(t, fault)-before, sum.LostForward+sum.LostUnsplit)
	require.EqualValues(t, 21, sum.Sent+sum.NotSent)
}

// TestRunWithoutConfiguration reflects and probes on the loopback addresses only, prints a table, serves its API.
func TestRunWithoutConfiguration(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 1)
	h := l.Host(1)
	tap, err := l.Fabric().Tap(h)
	require.NoError(t, err)
	a := startAgent(t, h, "llama-agent runs", "run")
	eventually(t, func() bool { return strings.Count(a.out.String(), "socket") >= 2 }, "a table")
	for row := range strings.Lines(a.out.String()) {
		if cells := strings.Fields(row); len(cells) > 1 && cells[len(cells)-1] == "socket" {
			require.Contains(t, []string{"127.0.0.1", "::1"}, cells[0])
			require.Equal(t, cells[2], cells[3], "sent and received: %s", row)
			require.Equal(t, []string{"0", "0%"}, cells[4:6], row)
		}
	}
	r := &running{agent: a, host: h}
	status, body := r.get(t, "/influxdata")
	require.Equal(t, 200, status)
	require.Contains(t, body, "127.0.0.1")
	a.stop(t)
	require.Empty(t, requests(t, tap), "nothing leaves the host")
}

// TestSinkComesBack: what was written while the server was down reaches it once it is up, nothing twice.
func TestSinkComesBack(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	r := run(t, h1, `  - influx: {url: "http://127.0.0.1:8086", database: llama}`+"\n"+oneTarget)
	r.writes(t, "one", 3)
	var listener net.Listener
	require.NoError(t, h1.Do(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:8086")
		return err
	}))
	var mu sync.Mutex // protects the fields below
	var got []string
	var query url.Values
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		z, err := gzip.NewReader(q.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body, _ := io.ReadAll(z)
		mu.Lock()
		defer mu.Unlock()
		query = q.URL.Query()
		for x := range strings.Lines(string(body)) {
			if !strings.HasPrefix(x, "llama_agent") {
				got = append(got, x)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= 4
	}, "lines at the server")
	r.stop(t)
	written, err := os.ReadFile(r.output)
	require.NoError(t, err)
	var want []string
	for x := range strings.Lines(string(written)) {
		if !strings.HasPrefix(x, "llama_agent") {
			want = append(want, x)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
	require.Equal(t, "llama", query.Get("db"))
}
