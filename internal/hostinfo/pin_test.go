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

func TestPinFolder(t *testing.T) {
	lab.Require(t, lab.Root)
	plain, bpffs := t.TempDir(), t.TempDir()
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		missing(t, "bpffs", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(bpffs, 0)) })
	there := filepath.Join(bpffs, "there")
	require.NoError(t, os.Mkdir(there, 0o700))
	for name, want := range map[string]PinFolder{
		"to be made":         {Path: filepath.Join(bpffs, "llama"), On: bpffs, BPFFS: true, Writable: true},
		"there":              {Path: there, Exists: true, On: there, BPFFS: true, Writable: true},
		"no bpffs":           {Path: filepath.Join(plain, "llama"), On: plain, Writable: true},
		"nothing above it":   {Path: filepath.Join(plain, "a/b/llama"), On: plain, Writable: true},
		"a slash at the end": {Path: there + "/", Exists: true, On: there, BPFFS: true, Writable: true},
	} {
		got, err := ReadPinFolder(want.Path)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}

	require.NoError(t, unix.Mount("", bpffs, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	got, err := ReadPinFolder(there)
	require.NoError(t, err)
	require.Equal(t, PinFolder{Path: there, Exists: true, On: there, BPFFS: true, ReadOnly: true}, got)
	require.NoError(t, unix.Mount("", bpffs, "", unix.MS_REMOUNT, ""))

	require.NoError(t, os.Chown(there, 65534, 65534))
	withoutPower(t, func() {
		got, err := ReadPinFolder(there)
		require.NoError(t, err)
		require.Equal(t, PinFolder{Path: there, Exists: true, On: there, BPFFS: true}, got)
	})
}

// withoutPower runs fn as root without its power over files, which is anyone.
func withoutPower(t *testing.T, fn func()) {
	t.Helper()
	onThread(func() {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		require.NoError(t, unix.Capget(&head, &data[0]))
		data[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		require.NoError(t, unix.Capset(&head, &data[0]))
		fn()
	})
}

func TestPinFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := ReadPinFolder(filepath.Join(file, "llama"))
	require.ErrorContains(t, err, "not a directory")
	_, err = ReadPinFolder("sys/fs/bpf")
	require.ErrorContains(t, err, "not an absolute path")
	_, err = ReadPinFolder("")
	require.ErrorContains(t, err, "not an absolute path")
}
