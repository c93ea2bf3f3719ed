//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// built is options with an agent of this tree; what the demo leaves in the
// temporary folder or elsewhere fails the test.
func built(t *testing.T, length time.Duration) options {
	t.Helper()
	program := filepath.Join(t.TempDir(), "llama-agent")
	out, err := exec.Command("go", "build", "-o", program, "../../cmd/llama-agent").CombinedOutput()
	require.NoError(t, err, "%s", out)
	nothingStays(t)
	return options{agent: program, length: length}
}

func nothingStays(t *testing.T) {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		for _, pattern := range []string{tmp + "/*", fmt.Sprintf("/run/netns/llama-%d-*", os.Getpid())} {
			left, err := filepath.Glob(pattern)
			require.NoError(t, err)
			require.Empty(t, left)
		}
		children, err := filepath.Glob("/proc/self/task/*/children")
		require.NoError(t, err)
		for _, file := range children {
			pids, err := os.ReadFile(file)
			if err == nil { // the thread may have ended
				require.Empty(t, string(pids), "processes left")
			}
		}
	})
}

func TestDemo(t *testing.T) {
	lab.Require(t, lab.Namespaces, lab.Nftables)
	o := built(t, 6*time.Second)
	var out bytes.Buffer
	err := run(t.Context(), o, &screen{w: &out})
	require.NoError(t, err, "%s", out.String())
	require.Regexp(t, `\nfound: packets towards h3 are lost \(kernel dropped [1-9]\d*, agents counted [1-9]\d* lost: [1-9]\d* forward, [1-9]\d* reverse`, out.String())
	require.Regexp(t, `forward  h1→h3 \d+, h2→h3 \d+\n +reverse  h3→h1 \d+, h3→h2 \d+\n`, out.String())
	t.Log("\n" + out.String())
}

func TestDemoInterrupted(t *testing.T) {
	lab.Require(t, lab.Namespaces, lab.Nftables)
	o := built(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := run(ctx, o, &screen{w: &bytes.Buffer{}})
	require.ErrorIs(t, err, errInterrupted)
	require.Equal(t, exitInterrupted, status(err, &bytes.Buffer{}))
}

func TestDemoAgentThatEnds(t *testing.T) {
	lab.Require(t, lab.Namespaces, lab.Nftables)
	nothingStays(t)
	err := run(t.Context(), options{agent: "/bin/false", length: time.Minute}, &screen{w: &bytes.Buffer{}})
	require.Error(t, err)
	require.Regexp(t, `agent on h\d: exit status 1`, err.Error(), "whichever is the first")
	require.Equal(t, exitSetup, status(err, &bytes.Buffer{}))
}

func TestLoopback(t *testing.T) {
	o := built(t, 2*time.Second)
	o.loopback = true
	var out bytes.Buffer
	err := run(t.Context(), o, &screen{w: &out})
	require.NoError(t, err, "%s", out.String())
	require.Regexp(t, `^Not root: .*\n`, out.String())
	require.Regexp(t, `\nloopback: [1-9]\d\d+ probes sent, 0 lost\n$`, out.String())
}

func TestOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("DEMO_SECONDS", "")
	_, err := optionsFromEnv()
	require.ErrorContains(t, err, "make demo builds it")
	require.NoError(t, os.Mkdir("bin", 0o755))
	require.NoError(t, os.WriteFile("bin/llama-agent", nil, 0o755))
	for text, want := range map[string]time.Duration{"": 20 * time.Second, "6": 6 * time.Second, "0": 0, "6s": 0, "-1": 0} {
		t.Setenv("DEMO_SECONDS", text)
		o, err := optionsFromEnv()
		if want == 0 {
			require.ErrorContains(t, err, "DEMO_SECONDS", text)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, o.length)
		require.Equal(t, os.Geteuid() != 0, o.loopback)
	}
	t.Setenv("DEMO", "forever")
	t.Setenv("DEMO_SECONDS", "6")
	o, err := optionsFromEnv()
	require.NoError(t, err)
	require.True(t, o.forever)
}
