//go:build linux

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// manager is the service manager's end of sd_notify(3).
type manager struct {
	mu    sync.Mutex // protects heard
	heard []string
}

func startManager(t *testing.T) *manager {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	m := &manager{}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.heard = append(m.heard, string(b[:n]))
			m.mu.Unlock()
		}
	}()
	return m
}

// since returns what was heard after the first n messages, and how many those are now.
func (m *manager) since(n int) ([]string, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.heard[n:]...), len(m.heard)
}

// hears waits for a message that begins so, after the first n, and returns it and how many came up to it.
func (m *manager) hears(t *testing.T, n int, begin string) (string, int) {
	t.Helper()
	var found string
	var at int
	eventually(t, func() bool {
		heard, _ := m.since(n)
		for i, h := range heard {
			if strings.HasPrefix(h, begin) {
				found, at = h, n+i+1
				return true
			}
		}
		return false
	}, "%s", begin)
	return found, at
}

// TestServiceManager: what systemd is told over the agent's life.
func TestServiceManager(t *testing.T) {
	l := lab.ForTest(t, 2)
	reflect(t, l.Host(2))
	m := startManager(t)
	t.Setenv("WATCHDOG_USEC", "1000000")
	r := run(t, l.Host(1), "targets:\n  good: {address: 10.77.2.2}\n")
	heard, _ := m.since(0)
	require.NotContains(t, heard, "STOPPING=1")
	_, n := m.hears(t, 0, "READY=1")
	status, _ := m.hears(t, n, "STATUS=")
	require.Regexp(t, `^STATUS=\d\d:\d\d:\d\d: 1 paths, \d lossy; \d+ sent, \d+ lost, \d+ late, 0 unreachable, \d+ not sent; RTT \(kernel\) p50 [\d.]+, p99 [\d.]+ µs$`, status)
	_, n = m.hears(t, n, "WATCHDOG=1")

	for _, config := range []string{"targets:\n  good: {address: 10.77.2.2, rack: r2}\n", "targets: 7\n"} { // right and wrong
		r.configure(t, config)
		r.signal(t, syscall.SIGHUP)
		var reloading string
		reloading, n = m.hears(t, n, "RELOADING=1\n")
		require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, reloading)
		_, n = m.hears(t, n, "READY=1")
	}
	m.hears(t, n, "WATCHDOG=1")

	r.signal(t, syscall.SIGSTOP) // an agent that hangs gives no sign of life
	time.Sleep(100 * time.Millisecond)
	_, n = m.since(0)
	time.Sleep(1200 * time.Millisecond)
	heard, _ = m.since(n)
	require.Empty(t, heard)
	r.signal(t, syscall.SIGCONT)
	_, n = m.hears(t, n, "WATCHDOG=1")

	r.signal(t, syscall.SIGTERM)
	<-r.done
	require.NoError(t, r.err)
	m.hears(t, n, "STOPPING=1")
}

// TestUnit: systemd takes the unit as it is.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		require.Empty(t, os.Getenv("LLAMA_TEST_NOSKIP"), "needs systemd-analyze: ./scripts/setup.sh test")
		t.Skip("needs systemd-analyze: ./scripts/setup.sh test")
	}
	unit, err := os.ReadFile("../../deploy/systemd/llama-agent.service")
	require.NoError(t, err)
	here := filepath.Join(t.TempDir(), "llama-agent.service") // the program must be there
	require.NoError(t, os.WriteFile(here, []byte(strings.Replace(string(unit), "/usr/bin/llama-agent", program, 1)), 0o600))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", here).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		require.NotContains(t, line, here)
		require.NotContains(t, line, "llama-agent.service:", "a key that it does not know")
	}
}

var (
	directory  = regexp.MustCompile(`(?m)^(State|Logs|Configuration)Directory=(\S+)$`)
	pathInFile = regexp.MustCompile("[\\s\"](/[\\w.-]+(?:/[\\w.*-]+)+)") // comments too; not /probe, nor what is in a URL
)

// TestUnitGrants: where the unit and the example say that files are is where the unit lets the agent have them.
func TestUnitGrants(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/llama-agent.service")
	require.NoError(t, err)
	var granted []string
	for _, d := range directory.FindAllStringSubmatch(string(unit), -1) {
		granted = append(granted, map[string]string{"State": "/var/lib/", "Logs": "/var/log/", "Configuration": "/etc/"}[d[1]]+d[2]+"/")
	}
	require.Len(t, granted, 3)
	example, err := os.ReadFile("../../deploy/llama-agent.yaml")
	require.NoError(t, err)
	_, start, _ := strings.Cut(string(unit), " --config")
	start, _, _ = strings.Cut(start, "\n")
	paths := pathInFile.FindAllStringSubmatch(start+"\n"+string(example), -1)
	require.Greater(t, len(paths), 5)
	for _, p := range paths {
		require.True(t, slices.ContainsFunc(granted, func(g string) bool { return strings.HasPrefix(p[1], g) }), "%s is below none of %v", p[1], granted)
	}
}

// TestOnlyReflects: an agent without targets speaks of itself all the same, and may be given some later.
func TestOnlyReflects(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	reflect(t, l.Host(2))
	r := run(t, l.Host(1), "targets: {}\n")
	own := func() int {
		b, err := os.ReadFile(r.output)
		require.NoError(t, err)
		return strings.Count(string(b), "llama_agent,")
	}
	eventually(t, func() bool { return own() >= 2 }, "llama_agent of an agent that only reflects")
	for _, targets := range []string{"targets:\n  good: {address: 10.77.2.2}\n", "targets: {}\n"} {
		r.configure(t, targets)
		r.signal(t, syscall.SIGHUP)
		if strings.Contains(targets, "good") {
			r.writes(t, "good", 2)
		}
	}
	before := own()
	eventually(t, func() bool { return own() >= before+3 }, "llama_agent afterwards")
	status, body := r.get(t, "/healthz")
	require.Equal(t, 200, status, body)
	r.signal(t, syscall.SIGTERM)
	<-r.done
	require.NoError(t, r.err)
	readLines(t, r.output) // no two of one time
}
