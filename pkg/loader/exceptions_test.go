//go:build linux

package loader

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A frame that the program gives up is one, whatever the driver's statistics say. What other programs do, and what
// came before, does not count.
func TestExceptions(t *testing.T) {
	const child = "LLAMA_TEST_EXCEPTIONS"
	if os.Getenv(child) == "" {
		// The library looks for tracefs once a process, and another test may have had it look before it is mounted here.
		cmd := exec.Command(os.Args[0], "-test.run=^TestExceptions$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		needs(t, "what the test needs in a process of its own", !bytes.Contains(out, []byte("--- SKIP")))
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestExceptions")
		return
	}
	h := newHost(t)
	mountTracefs(t)
	ifc, other := h.veth("eth0", 1500), h.veth("eth1", 1500)
	const aborted = 0
	ours, foreign := h.xdp("llama_xdp", aborted), h.xdp("foreign", aborted)
	_ = h.attach(ifc, ModeNative, programs{native: ours, generic: ours, tc: h.tc("llama_tc", tcShot)}, attachOptions{pin: h.pin})
	_ = h.attach(other, ModeNative, programs{native: foreign, generic: foreign, tc: h.tc("llama_tc", tcShot)}, attachOptions{pin: h.pin})
	x, err := openExceptions()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.close()) })
	count := func(p *ebpf.Program, ifc Interface) uint64 {
		n, err := x.count(p, ifc.Index)
		require.NoError(t, err)
		return n
	}
	h.send(ifc, 3)
	h.eventually(func() bool { return ours.count() == 3 }, "frames before anyone asked")
	require.Zero(t, count(ours.Program, ifc))
	require.Zero(t, count(ours.Program, other))
	h.send(ifc, 5)
	h.send(other, 7)
	h.eventually(func() bool { return ours.count() == 8 && foreign.count() == 7 }, "frames")
	h.eventually(func() bool { return count(ours.Program, ifc) == 5 }, "exceptions")
	require.Zero(t, count(ours.Program, other), "another program's")
}

func TestFieldOffset(t *testing.T) {
	const format = "name: xdp_exception\nformat:\n" +
		"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n" +
		"\tfield:int prog_id;\toffset:12;\tsize:4;\tsigned:1;\n" +
		"\tfield:int ifindex;\toffset:24;\tsize:4;\tsigned:1;\n\nprint fmt: \"prog_id=%d\", REC->prog_id\n"
	for name, want := range map[string]int16{"prog_id": 12, "ifindex": 24} {
		got, err := fieldOffset(format, name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := fieldOffset(format, "id")
	require.ErrorContains(t, err, "no field id")
	_, err = fieldOffset(format, "common_type")
	require.ErrorContains(t, err, "not as expected")
}

// Exceptions show beside a driver's statistics that are high already.
func TestFailuresAreHeldAgainstTheirOwnBefore(t *testing.T) {
	before := failures{driver: 1000, exception: 3}
	require.Zero(t, before.since(before))
	require.Equal(t, uint64(7), failures{driver: 1000, exception: 10}.since(before))
	require.Equal(t, uint64(9), failures{driver: 1009, exception: 10}.since(before), "the same frames")
	require.Equal(t, uint64(2), failures{driver: 2, exception: 3}.since(before), "the driver began anew")
}

// mountTracefs sees to it that there is one; the test needs a mount namespace of its own.
func mountTracefs(t *testing.T) {
	t.Helper()
	const dir = "/sys/kernel/tracing"
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	needs(t, "tracefs", err == nil)
	if fs.Type == unix.TRACEFS_MAGIC {
		return // which older kernels do not mount upon itself
	}
	require.NoError(t, unix.Mount("tracefs", dir, "tracefs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}
