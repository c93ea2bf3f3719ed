//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/servers"
)

// TestUnderTelegraf: Telegraf runs the agent by the configuration that deploy/ has. What the agent's file sink got is
// in Telegraf's output, field for field, and its log in Telegraf's. Where Telegraf ends, so does the agent, and takes
// its programs off.
func TestUnderTelegraf(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h := l.Host(1)
	reflect(t, l.Host(2))
	dir := t.TempDir()
	r := &running{host: h, config: filepath.Join(dir, "agent.yaml"), output: filepath.Join(dir, "lines"), pin: newPin()}
	r.configure(t, oneTarget)
	execd, err := os.ReadFile("../../deploy/telegraf/execd.conf")
	require.NoError(t, err)
	inputs := strings.NewReplacer("/usr/bin/llama-agent", program, "/etc/llama-agent/llama-agent.yaml", r.config).Replace(string(execd))
	require.Contains(t, inputs, r.config)
	g := servers.NewTelegraf(t, h, inputs, "llama-agent runs")
	require.Contains(t, g.Log(), `I! [inputs.execd] msg="llama-agent runs"`)
	require.NotContains(t, g.Log(), "stderr:", "a line without a level")
	r.writes(t, "one", 3)
	eventually(t, func() bool { return len(g.Lines()) > 4 }, "lines from Telegraf")
	g.Stop()
	noPins := func() bool { _, err := os.Stat(r.pin); return os.IsNotExist(err) }
	eventually(t, noPins, "no pins")
	want, err := os.ReadFile(r.output)
	require.NoError(t, err)
	require.Equal(t, points(t, string(want)), points(t, strings.Join(g.Lines(), "\n")))

	g.Start()
	require.DirExists(t, r.pin)
	g.Kill()
	eventually(t, noPins, "no pins")
}
