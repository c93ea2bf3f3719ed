package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The archive is read back by a program that is not ours.
func TestArchiveIsReadByBusybox(t *testing.T) {
	var b bytes.Buffer
	c := newCPIO(&b)
	c.file("/etc/a/plan", []byte("12345"))
	c.file("/etc/b", nil)
	c.dir("/etc/a")
	c.symlink("/bin/sh", "busybox")
	require.NoError(t, c.close())
	require.Zero(t, b.Len()%4)

	busybox, err := exec.LookPath("busybox")
	switch {
	case err == nil:
	case os.Getenv("LLAMA_TEST_NOSKIP") != "":
		t.Fatalf("needs busybox, and LLAMA_TEST_NOSKIP is set: %v", err)
	default:
		t.Skipf("needs busybox: %v", err)
	}
	dir := t.TempDir()
	cmd := exec.Command(busybox, "cpio", "-i", "-d")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(b.Bytes())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("find", dir, "-mindepth", "1", "-printf", "%P %y %s %l\n").Output()
	require.NoError(t, err)
	for _, want := range []string{"etc/a/plan f 5", "etc/b f 0", "bin/sh l 7 busybox", "etc/a d"} {
		require.Contains(t, string(out), want)
	}
	require.Equal(t, 6, strings.Count(string(out), "\n"), "each folder once: %s", out)
	_, err = filepath.EvalSymlinks(filepath.Join(dir, "etc/a"))
	require.NoError(t, err)
}

func TestDeviceHasItsNumbers(t *testing.T) {
	var b bytes.Buffer
	c := newCPIO(&b)
	c.device("/dev/console", 5, 1)
	require.NoError(t, c.close())
	// The second entry, after the folder: rdevmajor and rdevminor are its tenth and eleventh numbers.
	second := b.Bytes()[bytes.LastIndex(b.Bytes()[:b.Len()-124], []byte("070701")):]
	require.Equal(t, "0000000500000001", string(second[6+9*8:6+11*8]))
	require.Equal(t, "00002180", string(second[6+8:6+16]), "a character device, for root alone")
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestAFullDiskIsSaid(t *testing.T) {
	c := newCPIO(broken{})
	c.file("/a", make([]byte, 2<<20))
	require.ErrorContains(t, c.close(), "disk full")
}
