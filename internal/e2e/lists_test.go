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

// TestTargetLists: lists are read at the start and at a reload; one that is none, and one that shrank, stay as they were,
// of one with wrong entries the others are probed, all that is reported, and meanwhile the flows go on in their sessions.
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
	r := runProbing(t, l.Host(1), ", allow: [10.0.0.0/8]", from)
	own := r.says(t, "probes_received", 0)
	require.EqualValues(t, 1, own["config_targets_listed"])
	require.Zero(t, own["config_reloads_held_back"])

	write(one + more)
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_done", 0)
	require.EqualValues(t, 3, own["config_targets_listed"])

	write("<html>\n<body>504: timeout</body></html>\n")
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_partial", 0)
	require.EqualValues(t, 1, own["config_lists_faulty"])
	require.EqualValues(t, 3, own["config_targets_listed"])
	r.logs(t, "fabric.yaml: is HTML")

	write(one)
	r.signal(t, syscall.SIGHUP)
	r.logs(t, "names 1 targets, and 3 before")
	own = r.says(t, "config_reloads_held_back", 0)
	require.EqualValues(t, 1, own["config_lists_held_back"])
	require.NoError(t, os.Remove(list))
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_held_back", own["config_reloads_held_back"])
	require.EqualValues(t, 3, own["config_targets_listed"])
	require.Zero(t, own["config_last_reload_ok"])

	// A wrong entry is left out, and what is right comes.
	write(one + more + "two: {address: 10.77.2.2, port: 8622}\nbad: {address: 10.77.2.2, port: 8623, rack: \"\"}\nfar: {address: 192.0.2.1}\nfour: {address: 10.77.2.2, port: 8624}\n")
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_done", own["config_reloads_done"])
	require.Equal(t, []int64{4, 3}, []int64{own["config_targets_listed"], own["config_lists_refused"]})
	status, body := r.get(t, "/status/lists")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"targets":4,"refused":3,"reasons":["`+list+`:4:1: targets.two: given twice, first in line 2`)

	write(one)
	r.configure(t, strings.Replace(from, "}", ", max_shrink: 1}", 1))
	r.signal(t, syscall.SIGHUP)
	own = r.says(t, "config_reloads_done", own["config_reloads_done"])
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
