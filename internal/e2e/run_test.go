//go:build linux

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// running is a `run` with a configuration and a file sink of its own.
type running struct {
	*agent
	host           *lab.Host
	config, output string
	pin, datapath  string // datapath is what the configuration says of it beside the pin
	probing, self  string // likewise, of probing beside ports and times, of the host beside its name
	times          string // of probing, instead of runTimes
	pace           string // of probing, instead of runPace
}

// runTimes are an agent's timeouts where the test has no others.
const runTimes = "timeout: 200ms, late: 400ms, window: 1s"

// runPace is how often an agent probes where the test has nothing else: 100 probes/s a target.
const runPace = "ports: 2, interval: 20ms"

const runConfig = `
host: {name: prober, tags: {rack: r1}%s}
datapath: {pin: %s%s}
probing: {%s, %s%s}
sinks:
  - file: {path: %s}
%s`

// run starts an agent; more is added to the configuration, which ends in the list of sinks.
func run(t testing.TB, h *lab.Host, more string) *running {
	t.Helper()
	return runWith(t, h, "", more)
}

// runWith says more of the datapath too, such as ", mode: tc".
func runWith(t testing.TB, h *lab.Host, datapath, more string) *running {
	t.Helper()
	return (&running{host: h, datapath: datapath}).begin(t, more)
}

// runProbing says more of probing, such as ", sizes: [64, 1500]".
func runProbing(t testing.TB, h *lab.Host, probing, more string) *running {
	t.Helper()
	return (&running{host: h, probing: probing}).begin(t, more)
}

func (r *running) begin(t testing.TB, more string) *running {
	t.Helper()
	dir := t.TempDir()
	r.config, r.output, r.pin = filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "lines"), newPin()
	r.configure(t, more)
	r.start(t)
	return r
}

func (r *running) configure(t testing.TB, more string) {
	t.Helper()
	pace, times := cmp.Or(r.pace, runPace), cmp.Or(r.times, runTimes)
	require.NoError(t, os.WriteFile(r.config, fmt.Appendf(nil, runConfig, r.self, r.pin, r.datapath, pace, times, r.probing, r.output, more), 0o600))
}

func (r *running) start(t testing.TB) {
	t.Helper()
	r.agent = startAgent(t, r.host, "llama-agent runs", "run", "--config", r.config)
}

// writes waits until the agent has written so many lines of llama_path to the target in all.
func (r *running) writes(t testing.TB, dst string, lines int) {
	t.Helper()
	eventually(t, func() bool {
		b, err := os.ReadFile(r.output)
		require.NoError(t, err)
		n := 0
		for l := range strings.Lines(string(b)) {
			if strings.HasPrefix(l, "llama_path,") && strings.Contains(l, ",dst="+dst+",") {
				n++
			}
		}
		return n >= lines
	}, "%d lines to %s", lines, dst)
}

// get asks the agent's API, inside its host.
func (r *running) get(t testing.TB, path string) (status int, body string) {
	t.Helper()
	return r.ask(t, path)
}

// ask is get with an Authorization header, where one is given.
func (r *running) ask(t testing.TB, path string, credentials ...string) (status int, body string) {
	t.Helper()
	status, body, err := r.request(path, credentials...)
	require.NoError(t, err)
	return status, body
}

func (r *running) request(path string, credentials ...string) (status int, body string, err error) {
	err = r.host.Do(func() error {
		c, err := net.Dial("tcp", "127.0.0.1:5000")
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
		req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:5000"+path, http.NoBody)
		if err != nil {
			return err
		}
		req.Header["Authorization"] = credentials
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		status, body = resp.StatusCode, string(b)
		return err
	})
	return status, body, err
}

// requests counts the probes that left the host to each address, by a tap at its port.
func requests(t testing.TB, tap *lab.Tap) map[string]int64 {
	t.Helper()
	records, err := tap.Stop()
	require.NoError(t, err)
	n := map[string]int64{}
	for _, r := range records {
		if r.Direction == lab.FromHost && r.Dst.Port() == lab.DefaultReflectorPort {
			n[r.Dst.Addr().String()]++
		}
	}
	return n
}

// TestRunMeasuresWhatItCan: one target does not resolve, one has no route, one sink is down. The good target and
// the good sink do not feel it, and what was measured up to SIGTERM is written.
func TestRunMeasuresWhatItCan(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	ip(t, h1, "route add unreachable 10.99.0.0/16")
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	r := run(t, h1, `  - influx: {url: "http://127.0.0.1:9", database: llama}
targets:
  good: {address: 10.77.2.2, rack: r2}
  nameless: {address: no-such-host.invalid}
  routeless: {address: 10.99.0.1}
`)
	r.logs(t, "target=nameless")
	r.writes(t, "good", 4)

	status, body := r.get(t, "/status")
	require.Equal(t, []any{200, "ok"}, []any{status, strings.TrimSpace(body)})
	status, body = r.get(t, "/healthz")
	require.Equal(t, 200, status, body)
	status, body = r.get(t, "/influxdata")
	require.Equal(t, 200, status)
	requireGood(t, body)
	status, body = r.get(t, "/latency")
	require.Equal(t, 200, status)
	var latencies []struct {
		Tags map[string]string
		Data [][]any
	}
	require.NoError(t, json.Unmarshal([]byte(body), &latencies))
	require.Contains(t, body, `"rack":"r2"`)
	require.NotEmpty(t, latencies)

	r.signal(t, syscall.SIGTERM)
	<-r.done
	require.NoError(t, r.err, "a sink that is down does not make a stop a failure; the log says what it did not get")
	require.Contains(t, r.log.String(), "not delivered")
	left := requests(t, tap)
	lines := readLines(t, r.output)
	good, _ := pathTo(lines, "good")
	require.Equal(t, left["10.77.2.2"], good.Sent, "every probe that left is in a line")
	requireAllBack(t, &good)
	routeless, n := pathTo(lines, "routeless")
	require.Equal(t, counts{NotSent: routeless.NotSent}, routeless)
	require.Positive(t, routeless.NotSent)
	require.GreaterOrEqual(t, n, 4)
	require.Zero(t, left["10.99.0.1"])
	_, n = pathTo(lines, "nameless")
	require.Zero(t, n, "no figures of a target that has no address")
	for _, x := range lines {
		require.Equal(t, "prober", x.tags["src"])
		require.Equal(t, "r1", x.tags["src_rack"])
		if x.tags["dst"] == "good" {
			require.Equal(t, "r2", x.tags["dst_rack"])
			require.Equal(t, "kernel", x.tags["clock"])
			require.Positive(t, x.floats["rtt_p50_us"])
			require.Zero(t, x.floats["loss_ratio"])
		} else {
			require.NotContains(t, x.floats, "rtt_p50_us", "no reply: no RTT")
			require.NotContains(t, x.floats, "loss_ratio", "nothing sent: no ratio")
		}
	}
	own := last(t, lines)
	require.EqualValues(t, 1, own["targets_not_probed"])
	require.Contains(t, r.log.String(), "reason=no_route")
	requireSinkDown(t, own)
}

// requireGood finds the good target in the API's last window.
func requireGood(t testing.TB, body string) {
	t.Helper()
	var points []struct {
		Tags   map[string]string
		Fields map[string]float64
	}
	require.NoError(t, json.Unmarshal([]byte(body), &points), body)
	for _, p := range points {
		if p.Tags["dst"] == "good" {
			require.Positive(t, p.Fields["sent"])
			require.Zero(t, p.Fields["lost"])
			require.Contains(t, p.Fields, "rtt")
			require.Equal(t, "10.77.2.2", p.Tags["dst_ip"])
			return
		}
	}
	t.Fatalf("no point of the good target: %s", body)
}

// requireSinkDown: nothing was delivered, attempts were made, and batches wait.
func requireSinkDown(t testing.TB, own map[string]int64) {
	t.Helper()
	found := false
	for name, v := range own {
		switch {
		case !strings.HasPrefix(name, "sink_influx_http"):
		case strings.HasSuffix(name, "_delivered_lines"):
			require.Zero(t, v)
			found = true
		case strings.HasSuffix(name, "_retries"), strings.HasSuffix(name, "_waiting_batches"):
			require.Positive(t, v, name)
		}
	}
	require.True(t, found, "counters of the sink that is down: %v", own)
}

const oneTarget = "targets:\n  one: {address: 10.77.2.2}\n"

// TestReload: a wrong file changes nothing, a right one adds a target and leaves the first undisturbed.
func TestReload(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1 := l.Host(1)
	reflect(t, l.Host(2))
	reflect(t, l.Host(3))
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	r := run(t, h1, oneTarget)
	r.writes(t, "one", 1)
	r.configure(t, oneTarget+"  two: {address: 10.77.3.2, port: 99999}\nprobbing: {}\n")
	r.signal(t, syscall.SIGHUP)
	r.logs(t, "configuration kept as it was")
	require.Contains(t, r.log.String(), "99999")
	require.Contains(t, r.log.String(), "probbing")
	r.writes(t, "one", 3)
	r.configure(t, oneTarget+"  two: {address: 10.77.3.2}\n")
	r.signal(t, syscall.SIGHUP)
	r.logs(t, "configuration loaded")
	r.writes(t, "two", 2)
	r.stop(t)
	left := requests(t, tap)
	lines := readLines(t, r.output)
	for dst, addr := range map[string]string{"one": "10.77.2.2", "two": "10.77.3.2"} {
		sum, _ := pathTo(lines, dst)
		require.Equal(t, left[addr], sum.Sent, dst)
		requireAllBack(t, &sum)
	}
}

// TestKilledAndStartedAgain: after kill -9 the agent starts again at once, on the same ports. The reflector
// still has the old sessions: that must not look like loss.
func TestKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	r := run(t, h1, oneTarget)
	r.writes(t, "one", 2)
	r.kill(t)
	before := len(readLines(t, r.output))
	r.start(t)
	r.writes(t, "one", 5)
	r.stop(t)
	lines := readLines(t, r.output)
	require.Greater(t, len(lines), before)
	sum, _ := pathTo(lines, "one")
	require.Positive(t, sum.Sent)
	requireAllBack(t, &sum)
	require.Zero(t, sum.Duplicate+sum.Reordered+sum.Corrupted)
	require.Zero(t, last(t, lines)["collector_reply_unmatched"])
}

// TestReflectorKilledAndStartedAgain: what was under way is unreachable or lost without a direction, never
// loss in one.
func TestReflectorKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	old := reflectOverSockets(t, h2)
	p := startPing(t, h1, load(2, 200, 20*time.Millisecond, "--max-loss", "1", target(h2.IPv4))...)
	time.Sleep(700 * time.Millisecond)
	old.kill(t)
	time.Sleep(300 * time.Millisecond)
	reflectOverSockets(t, h2)
	results, status := p.wait(t)
	require.Zero(t, status)
	got := results[0]
	require.EqualValues(t, 400, got.due())
	require.Zero(t, got.LostForward+got.LostReverse+got.Refused)
	require.LessOrEqual(t, got.LostUnsplit, int64(2), "what the old one had read and not answered")
	require.Positive(t, got.Unreachable)
	require.Greater(t, got.Received, int64(50))
}
