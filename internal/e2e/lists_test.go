//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestTargetLists: lists are read at the start and at a reload; one that is none, and one that shrank, change nothing
// and are reported, and meanwhile the flows go on in their sessions.
func TestTargetLists(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	reflect(t, l.Host(2))
	lists := t.TempDir()
	list := filepath.Join(lists, "fabric.yaml")
	write := func(text string) { // whole or not at all
		t.Helper()
		require.NoError(t, os.WriteFile(list+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(list+".new", list))
	}
	const one, more = "one: {address: 10.77.2.2, rack: r2}\n", "two: {address: 10.77.2.2, port: 8620}\nthree: {address: 10.77.2.2, port: 8621}\n"
	write(one)
	from := "targets_from: {files: [" + lists + "/*.yaml]}\n"
	r := run(t, l.Host(1), from)
	own := r.says(t, "probes_received", 0)
	require.EqualValues(t, 1, own["config_targets_listed"])
	require.Zero(t, own["config_reloads_held_back"])

	write(one + more)
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_done", 0)
	require.EqualValues(t, 3, own["config_targets_listed"])

	write("<html>\n<body>504: timeout</body></html>\n")
	r.signal(t, syscall.SIGHUP)
	r.says(t, "config_reloads_refused", 0)
	r.logs(t, "fabric.yaml:2: ")

	write(one)
	r.signal(t, syscall.SIGHUP)
	r.logs(t, "the lists name 1 targets, and 3 before")
	own = r.says(t, "config_reloads_held_back", 0)
	require.NoError(t, os.Remove(list))
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_held_back", own["config_reloads_held_back"])
	require.EqualValues(t, 3, own["config_targets_listed"])
	require.Zero(t, own["config_last_reload_ok"])

	write(one)
	r.configure(t, strings.Replace(from, "}", ", max_shrink: 1}", 1))
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_done", 1)
	require.EqualValues(t, 1, own["config_targets_listed"])

	r.stop(t)
	require.Equal(t, 1, strings.Count(r.log.String(), "msg=probing "), "one collector for all: no session began anew")
	lines := readLines(t, r.output)
	_, windows := pathTo(lines, "one")
	require.Positive(t, windows)
	for _, line := range lines {
		if line.measurement == "llama_path" && line.tags["dst"] == "one" {
			require.Equal(t, "r2", line.tags["dst_rack"])
		}
	}
	_, windows = pathTo(lines, "two")
	require.Positive(t, windows)
}
