//go:build linux

package hostinfo

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// missing skips the test, or fails it where skips are not allowed.
func missing(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("LLAMA_TEST_NOSKIP") != "" {
		t.Fatalf("needs %s: %v", what, err)
	}
	t.Skipf("needs %s: %v", what, err)
}

// tool runs a command in the host's namespace, or in ours if h is nil.
func tool(t testing.TB, h *lab.Host, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, name, err)
	}
	cmd := exec.Command(name, args...)
	if h != nil {
		cmd = h.Command(context.Background(), name, args...)
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

// onThread runs fn on a thread of its own, which ends with it: what fn takes from
// the thread is taken from no other.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		fn()
	}()
	<-done
}

// readIn reads interfaces of the host's namespace.
func readIn(t testing.TB, h *lab.Host, owner func(uint32) string, names ...string) map[string]Interface {
	t.Helper()
	out := map[string]Interface{}
	require.NoError(t, h.Do(func() error {
		r, err := Open()
		if err != nil {
			return err
		}
		defer r.Close()
		r.Owner = owner
		for _, name := range names {
			if out[name], err = r.Interface(name); err != nil {
				return err
			}
		}
		return nil
	}))
	return out
}

// add makes an interface in the host's namespace.
func add(t testing.TB, h *lab.Host, link netlink.Link) netlink.Link {
	t.Helper()
	var made netlink.Link
	require.NoError(t, h.Do(func() (err error) {
		if err = netlink.LinkAdd(link); err != nil {
			return err
		}
		made, err = netlink.LinkByName(link.Attrs().Name)
		return err
	}), link.Attrs().Name)
	return made
}

func linkNamed(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// loadProgram loads `return 2`, which is XDP_PASS, and returns its descriptor and number.
func loadProgram(t testing.TB, kind uint32) (fd int, id uint32) {
	t.Helper()
	instructions := [2]uint64{2<<32 | 0xb7, 0x95} // r0 = 2; exit
	license := []byte("GPL\x00")
	attr := struct {
		kind, count           uint32
		instructions, license unsafe.Pointer
		_                     [12]uint64
	}{kind: kind, count: 2, instructions: unsafe.Pointer(&instructions), license: unsafe.Pointer(&license[0])}
	r, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		missing(t, "bpf(2)", errno)
	}
	fd = int(r)
	t.Cleanup(func() { unix.Close(fd) })
	var info struct{ kind, id uint32 } // the start of struct bpf_prog_info
	get := struct {
		fd, length uint32
		info       unsafe.Pointer
	}{uint32(fd), uint32(unsafe.Sizeof(info)), unsafe.Pointer(&info)}
	_, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&get)), unsafe.Sizeof(get))
	require.Zero(t, errno)
	return fd, info.id
}
