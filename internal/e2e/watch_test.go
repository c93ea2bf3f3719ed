//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestWatchedFiles: with watch, what changes is loaded without a signal: a list behind the links of a ConfigMap that
// are swapped, a list that is new, the file itself; a wrong file changes nothing.
func TestWatchedFiles(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	swap := func(to string) {
		t.Helper()
		require.NoError(t, os.Symlink(to, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	target := func(n int) string { return fmt.Sprintf("t%d: {address: 10.77.2.2, port: %d}\n", n, 8000+n) }
	write("..1/a.yaml", target(1))
	write("..2/a.yaml", target(1)+target(2))
	swap("..1")
	require.NoError(t, os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")))
	more := "watch: true\ntargets_from: {files: [" + dir + "/*.yaml]}\n"
	r := run(t, l.Host(1), more)
	r.becomes(t, "config_targets_listed", 1)
	swap("..2")
	r.becomes(t, "config_targets_listed", 2)
	write("b.yaml", target(3))
	r.becomes(t, "config_targets_listed", 3)
	r.configure(t, more+"probbing: {}\n")
	r.logs(t, "configuration kept as it was")
	r.configure(t, more+"targets: {here: {address: 10.77.2.2}}\n")
	own := r.becomes(t, "config_targets", 4)
	require.EqualValues(t, 3, own["config_targets_listed"])
	require.Positive(t, own["config_reloads_refused"])
	r.stop(t)
}
