//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const wrongConfig = `host: {name: prober}
reflector: {listen: [":0"]}
classes: {be: 0, ef: 64}
probing:
  classes: [be, af77]
  interval: 1
  timeout: 3s
  late: 2s
  intervall: 1s
targets:
  one: {address: 10.77.2.2, port: 70000}
sinks:
  - influks: {}
`

// TestWrongConfiguration: every mistake in one message, each with its line; exit status 2; nothing was begun.
func TestWrongConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "wrong.yaml")
	require.NoError(t, os.WriteFile(file, []byte(wrongConfig), 0o600))
	for _, command := range []string{"run", "check"} {
		t.Run(command, func(t *testing.T) {
			out, status := once(t, command, "--config", file)
			require.Equal(t, 2, status, out)
			for _, want := range []string{
				"wrong.yaml:2:", "reflector.listen[0]",
				"wrong.yaml:3:", "classes.ef",
				"wrong.yaml:5:", `"af77"`,
				"wrong.yaml:6:", "probing.interval", "unit",
				"wrong.yaml:8:", "probing.late",
				"wrong.yaml:9:", "intervall",
				"wrong.yaml:11:", "70000",
				"wrong.yaml:13:", "influks",
			} {
				require.Contains(t, out, want)
			}
			require.NotContains(t, out, "reflecting")
			require.NotContains(t, out, "probing\"")
		})
	}
}

// TestUsageErrors exit with 2 and say what is wrong.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		say  string
		args []string
	}{
		{"no-such.yaml", []string{"run", "--config", "no-such.yaml"}},
		{"no-such.yaml", []string{"check", "--config", "no-such.yaml"}},
		{"--ports 0", []string{"ping", "--ports", "0", "127.0.0.1"}},
		{"--interval", []string{"ping", "--interval", "1us", "127.0.0.1"}},
		{"--dscp", []string{"ping", "--dscp", "gold", "127.0.0.1"}},
		{`mode "turbo"`, []string{"ping", "--mode", "turbo", "127.0.0.1"}},
		{"no native XDP", []string{"ping", "--mode", "native", "127.0.0.1"}}, // on lo
		{"70000", []string{"ping", "127.0.0.1:70000"}},
		{"--listen", []string{"reflect", "--listen", "nonsense"}},
		{"unknown command", []string{"pong"}},
		{"ip address", []string{"reflect", "--listen", "203.0.113.77:8620"}}, // the mend
	} {
		out, status := once(t, c.args...)
		require.Equal(t, 2, status, "%v: %s", c.args, out)
		require.Contains(t, out, c.say, "%v", c.args)
	}
}

// TestCheckOfARightFile says so, and exits with 0.
func TestCheckOfARightFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "right.yaml")
	right := "reflector: {listen: [\"127.0.0.1:48620\"]}\ntargets:\n  one: {address: 10.77.2.2}\n"
	require.NoError(t, os.WriteFile(file, []byte(right), 0o600))
	out, status := once(t, "check", "--config", file)
	require.Zero(t, status, out)
	require.Contains(t, out, "1 targets, 1 classes, 32 ports")
}

// once runs the program to its end, outside any lab.
func once(t testing.TB, args ...string) (out string, status int) {
	t.Helper()
	b, err := exec.Command(program, args...).CombinedOutput()
	return string(b), exitStatus(t, err)
}
