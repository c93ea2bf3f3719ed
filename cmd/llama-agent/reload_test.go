package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
)

// quiet is the configuration of an agent that neither probes nor reflects, nor hands on a
// window of its own within a test.
func quiet(t *testing.T, listen, sinks string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `host: {name: a1-h1}
datapath: {mode: socket, pin: %s}
reflector: {listen: []}
targets: {}
probing: {window: 1h}
api: {listen: %q}
sinks: [%s]
`, t.TempDir(), listen, sinks))
	require.NoError(t, err)
	return cfg
}

func begun(t *testing.T, cfg *config.Config) *agent {
	t.Helper()
	a := &agent{log: slog.New(slog.DiscardHandler), stdout: io.Discard}
	a.followLists()
	require.NoError(t, a.begin(t.Context(), cfg))
	t.Cleanup(func() {
		_ = a.end() // what a test has broken may end badly
		a.discovered.Close()
	})
	return a
}

// requireServes fails if the API at addr does not have the next window.
func (a *agent) requireServes(t *testing.T, addr string) {
	t.Helper()
	get := func(where string) string {
		resp, err := http.Get("http://" + addr + where)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	get("/metrics") // which sums up from the first scrape on
	p := probe.Path{Dst: fmt.Sprintf("d%d", time.Now().UnixNano()), Family: 4, Clock: probe.ClockUser}
	p.Sent, p.Received = 1, 1
	a.window(&probe.Window{End: time.Now(), Paths: []probe.Path{p}})
	for _, where := range []string{"/influxdata", "/metrics"} {
		require.True(t, strings.Contains(get(where), p.Dst), "%s has not the last window", where)
	}
}

// The API has the windows of now whatever a reload does: an address that cannot be had,
// at another port or the same, and one that has the old one among its own.
func TestReloadOfTheAPI(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	require.NoError(t, l.Close())
	a := begun(t, quiet(t, addr, ""))
	a.requireServes(t, addr)
	for _, no := range []string{taken.Addr().String(), "192.0.2.1:" + port} {
		require.Error(t, a.reload(t.Context(), quiet(t, no, "")))
		a.requireServes(t, addr)
		require.NoError(t, a.reload(t.Context(), quiet(t, addr, "")))
		a.requireServes(t, addr)
	}
	require.NoError(t, a.reload(t.Context(), quiet(t, ":"+port, "")))
	a.requireServes(t, addr)
	// As after a reload that had neither the new address nor the old one.
	require.NoError(t, a.serving.stop())
	a.serving = nil
	require.NoError(t, a.reload(t.Context(), quiet(t, ":"+port, "")))
	a.requireServes(t, addr)
	require.NoError(t, a.reload(t.Context(), quiet(t, "", "")))
	_, err = http.Get("http://" + addr + "/influxdata")
	require.Error(t, err)
}
