//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// reload gives an agent another configuration and waits until it has it.
func (r *running) reload(t testing.TB, datapath, more, says string) {
	t.Helper()
	r.datapath = datapath
	r.configure(t, more)
	r.signal(t, syscall.SIGHUP)
	r.logs(t, says)
}

// reflectsAtHost2 is a lab of two hosts, and an agent on the second that only reflects.
func reflectsAtHost2(t *testing.T, datapath string) (*lab.Lab, *running) {
	t.Helper()
	t.Parallel()
	l := lab.ForTest(t, 2)
	return l, runWith(t, l.Host(2), datapath, "targets: {}\n")
}

// requireByKernel fails if not all probes to the address are answered by the programs of r's host.
func requireByKernel(t testing.TB, l *lab.Lab, r *running) {
	t.Helper()
	before := inKernel(t, r.host, r.pin)
	res, status := ping(t, l.Host(1), load(1, 10, 10*time.Millisecond, target(r.host.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, res.allReceived(10), res.counts)
	after := inKernel(t, r.host, r.pin)
	require.Equal(t, before["reply replied"]+int(res.Sent), after["reply replied"], "%v, then %v", before, after)
}

// TestReloadWhileTheOldDatapathEndsBadly: the new one is there, and one only.
func TestReloadWhileTheOldDatapathEndsBadly(t *testing.T) {
	l, r := reflectsAtHost2(t, ", lease: 50s")
	// A folder of somebody's among the pins, which is not empty: it cannot be removed.
	foreign := filepath.Join(r.pin, "llama_folder")
	require.NoError(t, os.MkdirAll(filepath.Join(foreign, "x"), 0o700))
	r.reload(t, ", lease: 40s", "targets: {}\n", "configuration loaded in part")
	requireByKernel(t, l, r)
	require.NoError(t, os.RemoveAll(foreign))
	r.stop(t)
	require.NoDirExists(t, r.pin)
}

// TestReloadOfTheDatapath: another mode, pin folder, port, and the sockets.
func TestReloadOfTheDatapath(t *testing.T) {
	l, r := reflectsAtHost2(t, ", mode: tc")
	h := r.host
	requireByKernel(t, l, r)
	r.reload(t, ", mode: generic", "targets: {}\n", "mode=generic")
	requireByKernel(t, l, r)
	old := r.pin
	r.pin = newPin()
	r.reload(t, ", mode: auto", "targets: {}\n", "mode=tc by=tcx not_native")
	requireByKernel(t, l, r)
	require.NoDirExists(t, old)
	r.reload(t, ", mode: native, interfaces: [lo]", "targets: {}\n", "configuration loaded in part")
	requireByKernel(t, l, r)
	r.reload(t, ", mode: socket", "targets: {}\n", "")
	eventually(t, func() bool { _, err := os.Stat(r.pin); return os.IsNotExist(err) }, "no pins")
	require.NotContains(t, string(tool(t, h, "bpftool", "net")), "llama")
	res, status := ping(t, l.Host(1), load(1, 10, 10*time.Millisecond, target(h.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, res.allReceived(10), res.counts)
	r.stop(t)
}

// TestInterfacesAndAddressesAreFollowed: an address that comes is answered in the kernel, one that goes is not, and
// an interface that comes back under its name is another one.
func TestInterfacesAndAddressesAreFollowed(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h := l.Host(2)
	tool(t, h, "ip", "link", "add", "d0", "type", "veth", "peer", "name", "p0")
	tool(t, h, "ip", "link", "set", "d0", "up")
	r := runWith(t, h, ", interfaces: [eth0, d0]", "targets: {}\n")
	local := func(ip string) func() bool {
		return func() bool {
			out, err := command(context.Background(), h, "maps", "--pin", r.pin).Output()
			require.NoError(t, err)
			return strings.Contains(string(out), "\n  "+ip+"\n")
		}
	}
	tool(t, h, "ip", "address", "add", "10.99.0.1/32", "dev", "d0")
	eventually(t, local("10.99.0.1"), "address")
	tool(t, h, "ip", "address", "del", "10.99.0.1/32", "dev", "d0")
	eventually(t, func() bool { return !local("10.99.0.1")() }, "no address")
	tool(t, h, "ip", "link", "del", "d0")
	r.logs(t, "interface is gone")
	tool(t, h, "ip", "link", "add", "d0", "type", "veth", "peer", "name", "p0")
	eventually(t, func() bool { return len(bpfLinks(t, h, r.pin)) == 2 }, "program on the new interface")
	tool(t, h, "ip", "link", "del", "d0")
	eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(r.pin, "link_d0_tc"))
		return os.IsNotExist(err)
	}, "no pin of what is gone")
	requireByKernel(t, l, r)
	r.stop(t)
	require.NoDirExists(t, r.pin)
}

// TestProgramTakenOff: it is put back once, then the next step is taken, and the sockets answer in between.
func TestProgramTakenOff(t *testing.T) {
	l, r := reflectsAtHost2(t, "")
	h := r.host
	for _, says := range []string{"reflecting in the kernel again", "from=tc to=generic"} {
		tool(t, h, "bpftool", "link", "detach", "pinned", filepath.Join(r.pin, "link_eth0_tc"))
		res, status := ping(t, l.Host(1), load(1, 3, 10*time.Millisecond, target(h.IPv4))...)
		require.Zero(t, status)
		require.Equal(t, int64(3), res.Received)
		r.logs(t, says)
	}
	requireByKernel(t, l, r)
	r.stop(t)
	require.NoDirExists(t, r.pin)
}

// TestKilledInTheMiddleOfTheStart: whatever is left, the next agent makes good, and its stop leaves nothing.
func TestKilledInTheMiddleOfTheStart(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 1)
	h := l.Host(1)
	pin := newPin()
	args := []string{"reflect", "--mode", "tc", "--interface", "eth0", "--interface", "lo", "--pin", pin}
	for after := range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		cmd := command(ctx, h, args...)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(20*after) * time.Millisecond)
		cancel() // kills it
		_ = cmd.Wait()
	}
	a := startAgent(t, h, "msg=reflecting listen", args...)
	require.Len(t, bpfLinks(t, h, pin), 2)
	a.stop(t)
	require.NoDirExists(t, pin)
	require.NotContains(t, string(tool(t, h, "bpftool", "net")), "llama")
}

// TestStoppedInTheMiddleOfTheStart: a stop is one whenever it comes, and leaves nothing.
func TestStoppedInTheMiddleOfTheStart(t *testing.T) {
	t.Parallel()
	h := lab.ForTest(t, 1).Host(1)
	for after := range 5 {
		pin := newPin()
		cmd := command(context.Background(), h, "reflect", "--mode", "tc", "--interface", "eth0", "--interface", "lo", "--pin", pin)
		require.NoError(t, cmd.Start())
		eventually(t, func() bool { _, err := os.Stat(pin); return err == nil }, "pin folder")
		time.Sleep(time.Duration(300*after) * time.Millisecond)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "after %d", after)
		require.NoDirExists(t, pin)
	}
	require.NotContains(t, string(tool(t, h, "bpftool", "net")), "llama")
}
