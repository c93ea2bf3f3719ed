package sink

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// TestTelegrafExamples: what deploy/telegraf has for Telegraf, and says of the agent's side, works with the real one.
// execd.conf is tried with the whole agent, in internal/e2e.
func TestTelegrafExamples(t *testing.T) {
	example := func(name, address string) string {
		b, err := os.ReadFile("../../deploy/telegraf/" + name)
		require.NoError(t, err)
		require.Contains(t, string(b), address)
		return string(b)
	}
	lines := numbered(0, 20)

	v1 := servers.NewTelegraf(t, nil, strings.ReplaceAll(example("influxdb_listener.conf", "127.0.0.1:8186"), "127.0.0.1:8186", "%s"), "Started HTTP listener")
	w, err := NewInflux(InfluxConfig{URL: v1.URL, Database: "llama"})
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), lines))
	arrived(t, v1, linesOf(lines))

	path := t.TempDir() + "/llama.sock"
	unix := servers.NewTelegraf(t, nil, strings.ReplaceAll(example("socket_listener.conf", "/run/telegraf/llama.sock"), "/run/telegraf/llama.sock", path), "Listening on")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o666), info.Mode().Perm(), "the agent is another user than Telegraf, without the right to what is not its own")
	q := socketQueue(t, SocketConfig{Address: "unix://" + path})
	q.Enqueue(lines)
	arrived(t, unix, linesOf(lines))
	require.NoError(t, q.Close(t.Context()))
}
