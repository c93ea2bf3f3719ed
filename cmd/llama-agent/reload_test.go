package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/loader"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// quiet is the configuration of an agent that neither probes nor reflects, nor hands on a
// window of its own within a test.
func quiet(t *testing.T, listen, sinks string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `host: {name: a1-h1}
datapath: {mode: socket, pin: /nowhere}
reflector: {listen: []}
targets: {}
probing: {window: 1h}
api: {listen: %q}
sinks: [%s]
`, listen, sinks))
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

func get(t *testing.T, addr, where string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + where)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// requireServes fails if the API at addr does not have the next window.
func (a *agent) requireServes(t *testing.T, addr string) {
	t.Helper()
	get(t, addr, "/metrics") // which sums up from the first scrape on
	p := probe.Path{Dst: fmt.Sprintf("d%d", time.Now().UnixNano()), Family: 4, Clock: probe.ClockUser}
	p.Class.Name, p.Sent, p.Lost, p.LostUnsplit = "be", 1, 1, 1
	a.window(&probe.Window{End: time.Now(), Paths: []probe.Path{p}})
	for _, where := range []string{"/influxdata", "/metrics"} {
		require.True(t, strings.Contains(get(t, addr, where), p.Dst), "%s has not the last window", where)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// The API has the windows of now whatever a reload does: an address that cannot be had,
// at another port or the same, and one that has the old one among its own.
func TestReloadOfTheAPI(t *testing.T) {
	addr := freeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
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
	_, err = net.Dial("tcp", addr)
	require.Error(t, err)
}

var errBadly = errors.New("ended badly")

// badly is p, but for its end.
func badly(p *part) *part {
	return start(func(ctx context.Context) error {
		<-ctx.Done()
		return errors.Join(p.stop(), errBadly)
	})
}

type badOutput struct{ sink.Output }

func (o badOutput) Close(ctx context.Context) error {
	return errors.Join(o.Output.Close(ctx), errBadly)
}

// What ends badly is told, and the new configuration is in force all the same: the one of
// before can be had again.
func TestReloadWhileTheOldEndsBadly(t *testing.T) {
	folder := t.TempDir()
	parse := func(name string) *config.Config {
		return quiet(t, freeAddress(t), fmt.Sprintf("{file: {path: %s/%s}}", folder, name))
	}
	requireInForce := func(a *agent, cfg config.Config) {
		t.Helper()
		require.Equal(t, cfg, *a.cfg)
		require.Len(t, a.outputs, 1)
		require.Contains(t, a.outputs, placeIn(&cfg, &cfg.Sinks[0]))
		a.requireServes(t, cfg.API.Listen)
	}
	first, second := parse("first"), parse("second")
	second.Datapath.Lease *= 2
	a := begun(t, first)
	for place, o := range a.outputs {
		o.output = badOutput{o.output}
		a.outputs[place] = o
	}
	a.kernel = &kernelPart{datapath: &loader.Datapath{}, keeping: badly(nil)}
	a.serving = badly(a.serving)
	want := *second
	err := a.reload(t.Context(), second)
	require.Equal(t, 3, strings.Count(err.Error(), errBadly.Error()), err)
	requireInForce(a, want)
	want = *first
	require.NoError(t, a.reload(t.Context(), first))
	requireInForce(a, want)
}

// The reflector of before is not begun again beside the new one because it ended badly.
// One that was not to be had is, by the next reload.
func TestReloadOfTheReflector(t *testing.T) {
	at := func(addr string) *config.Config {
		cfg := quiet(t, "", "")
		cfg.Reflector.Listen = []netip.AddrPort{netip.MustParseAddrPort(addr)}
		return cfg
	}
	a := begun(t, at("127.0.0.1:0"))
	a.reflecting = badly(a.reflecting)
	require.ErrorIs(t, a.reload(t.Context(), at("127.0.0.2:0")), errBadly)
	require.Equal(t, "127.0.0.2", a.reflector.Addrs()[0].Addr().String())
	require.NoError(t, a.reflecting.stop()) // as after a reload that had neither the new addresses nor the old ones
	a.reflector, a.reflecting = nil, nil
	require.NoError(t, a.reload(t.Context(), at("127.0.0.2:0")))
	require.NotNil(t, a.reflector)
}

// A file that is moved away is opened anew, also by a reload that changes other things of the sinks.
func TestReloadOpensFilesAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	lines := fmt.Sprintf("{file: {path: %s}}", path)
	more := lines + ", stdout: {}"
	a := begun(t, quiet(t, "", lines))
	for _, sinks := range []string{lines, more, more} {
		require.NoError(t, os.Rename(path, path+".1"))
		require.NoError(t, a.reload(t.Context(), quiet(t, "", sinks)))
		require.FileExists(t, path)
	}
}

// What a reload could not have is as it was, and the next one tries again: with all of
// the new tags, too, though the sinks and the API are those of before.
func TestReloadAfterOneInPart(t *testing.T) {
	addr, path := freeAddress(t), filepath.Join(t.TempDir(), "lines")
	lines := fmt.Sprintf("{file: {path: %s}}", path)
	tagged := func(listen, sinks string) *config.Config {
		cfg := quiet(t, listen, sinks)
		cfg.Host.Tags = map[string]string{"rack": "r2"}
		return cfg
	}
	first := quiet(t, addr, lines)
	a := begun(t, first)
	bad := tagged("192.0.2.1:1", lines+", {file: {path: /nowhere/lines}}")
	bad.Reflector.Listen = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}
	require.Error(t, a.reload(t.Context(), bad))
	require.Equal(t, []any{first.Sinks, first.API, first.Reflector}, []any{a.cfg.Sinks, a.cfg.API, a.cfg.Reflector})
	a.requireServes(t, addr)
	require.NoError(t, a.reload(t.Context(), tagged(addr, lines)))
	a.requireServes(t, addr)
	require.True(t, strings.Contains(get(t, addr, "/metrics"), `rack="r2"`))
	require.NoError(t, a.end())
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.Contains(string(written), "rack=r2"))
}
