//go:build linux

package hostinfo

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

func TestFolder(t *testing.T) {
	lab.Require(t, lab.Root)
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=1777"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	there := filepath.Join(dir, "there")
	require.NoError(t, os.MkdirAll(filepath.Join(there, "a/b"), 0o750))
	require.NoError(t, os.Chown(there, 65534, 65534))
	for name, n := range map[string]int{"x": 3000, "a/y": 4000, "a/b/z": 5000} {
		require.NoError(t, os.WriteFile(filepath.Join(there, name), make([]byte, n), 0o600))
	}
	require.NoError(t, os.Symlink("/proc/kcore", filepath.Join(there, "link")), "no file")

	got, err := ReadFolder(there)
	require.NoError(t, err)
	require.Greater(t, got.Free, int64(1<<19))
	require.Less(t, got.Free, int64(1<<20))
	got.Free = 0
	want := Folder{Path: there, Exists: true, On: there, UID: 65534, Mode: 0o750, InMemory: true, Writable: true, Used: 12_000}
	require.Equal(t, want, got)
	got, err = ReadFolder(filepath.Join(dir, "not/there"))
	require.NoError(t, err)
	require.Equal(t, dir, got.On)
	require.EqualValues(t, 0o1777, got.Mode)
	require.False(t, got.Exists)
	require.Zero(t, got.Used)

	withoutPower(t, func() {
		got, err := ReadFolder(there)
		require.NoError(t, err)
		require.False(t, got.Writable)
	})
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	got, err = ReadFolder(there)
	require.NoError(t, err)
	require.True(t, got.ReadOnly)
	require.False(t, got.Writable)
}

func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	loop := filepath.Join(t.TempDir(), "loop")
	require.NoError(t, os.Symlink(loop, loop))
	for path, says := range map[string]string{
		file: "not a directory", filepath.Join(file, "spool"): "not a directory", filepath.Join(loop, "spool"): "too many levels of symbolic links",
		"spool": "not an absolute path", "": "not an absolute path", "/" + string(make([]byte, 5)) + "x": "invalid argument",
	} {
		_, err := ReadFolder(path)
		require.ErrorContains(t, err, says, "%q", path)
	}
}
