//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// An emission is a way for probes to leave, and a place for their stamps.
type emission struct{ name, mode, probing string }

var emissions = []emission{
	{"socket", "socket", ""},
	{"tc", "tc", ""},
	{"packet", "tc", ", emit: packet"},
	{"native", "native", ""},
	{"generic", "generic", ""},
}

func eachEmission(t *testing.T, of []emission, test func(t *testing.T, e emission)) {
	for _, e := range of {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
	}
}

// begin starts an agent that probes so, and none other of its options.
func (e emission) begin(t *testing.T, l *lab.Lab, h *lab.Host, times, targets string) *running {
	t.Helper()
	if e.mode == "native" {
		require.NoError(t, l.Fabric().PassXDP(h))
	}
	r := &running{host: h, datapath: fmt.Sprintf(", mode: %s, interfaces: [eth0]", e.mode), probing: e.probing, times: times}
	return r.begin(t, targets)
}

// bothTargets are the two addresses of a host, as targets four and six.
func bothTargets(h *lab.Host) string {
	return fmt.Sprintf("targets:\n  four: {address: %s}\n  six: {address: \"%s\"}\n", h.IPv4, h.IPv6)
}

// pathToBoth is the sum of the lines to both.
func pathToBoth(lines []line) counts {
	four, _ := pathTo(lines, "four")
	six, _ := pathTo(lines, "six")
	return four.plus(six)
}

// halt stops all of the agent's threads where they are, and returns once the kernel says so of each.
func (a *agent) halt(t *testing.T) {
	t.Helper()
	a.signal(t, syscall.SIGSTOP)
	eventually(t, func() bool {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", a.cmd.Process.Pid))
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			if !strings.HasPrefix(string(b[strings.LastIndexByte(string(b), ')'):]), ") T") {
				return false
			}
		}
		return len(files) > 0
	}, "the agent stands still")
}
