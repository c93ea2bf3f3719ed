//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

type checked struct {
	Name, Interface, Detail, Mend string
	OK                            bool
	Data                          json.RawMessage
}

// checkIn runs check in the host, or outside any if h is nil, on the calling goroutine's thread.
func checkIn(t testing.TB, h *lab.Host, config string) (out []checked) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "check.yaml")
	require.NoError(t, os.WriteFile(file, []byte("reflector: {listen: [\"127.0.0.1:48621\"]}\n"+config), 0o600))
	args := []string{"check", "--output", "json", "--config", file}
	cmd := exec.Command(program, args...)
	if h != nil {
		cmd = h.Command(context.Background(), program, args...)
	}
	text, err := cmd.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &out), "%s", text)
	return out
}

// find returns the findings of a name.
func find(all []checked, name, iface string) (out []checked) {
	for _, f := range all {
		if f.Name == name && f.Interface == iface {
			out = append(out, f)
		}
	}
	return out
}

// TestCheckOfInterfaces: those that are named, or else those that traffic takes, with what is under them.
func TestCheckOfInterfaces(t *testing.T) {
	t.Parallel()
	h := lab.ForTest(t, 1).Host(1)
	ip(t, h, "link add br0 type bridge")
	ip(t, h, "link add p0 master br0 type veth peer name p1")

	all := checkIn(t, h, "targets:\n  one: {address: 10.77.2.2}\n  self: {address: 127.0.0.1}\n")
	eth0 := find(all, "interface", "eth0")
	require.Len(t, eth0, 1)
	require.True(t, eth0[0].OK)
	require.Contains(t, eth0[0].Detail, "veth, MTU 1500")
	require.Contains(t, eth0[0].Detail, "(default route)")
	require.Len(t, find(all, "interface", "lo"), 1)
	require.Empty(t, find(all, "interface", "br0"))
	var data struct {
		Name, Kind, Driver string
		MTU, Index         int
	}
	require.NoError(t, json.Unmarshal(eth0[0].Data, &data))
	require.Equal(t, "eth0 veth veth 1500", fmt.Sprint(data.Name, " ", data.Kind, " ", data.Driver, " ", data.MTU))

	all = checkIn(t, h, "datapath: {interfaces: [br0, eth7]}\nprobing: {device: eth8}\n")
	require.Contains(t, find(all, "interface", "br0")[0].Detail, "bridge")
	require.Contains(t, find(all, "interface", "p0")[0].Detail, "under br0")
	require.Equal(t, "ip link set dev p0 up", find(all, "interface", "p0")[0].Mend)
	gone := find(all, "interface", "eth7")[0]
	require.False(t, gone.OK)
	require.Equal(t, "there is no such interface (datapath.interfaces)", gone.Detail)
	require.Equal(t, "there is no such interface (probing.device)", find(all, "interface", "eth8")[0].Detail)
	require.Empty(t, find(all, "interface", "eth0"))
}

// TestCheckWithoutRoutes names what has none.
func TestCheckWithoutRoutes(t *testing.T) {
	t.Parallel()
	h := lab.ForTest(t, 1).Host(1)
	ip(t, h, "route del default")
	ip(t, h, "-6 route del default")
	all := checkIn(t, h, "targets:\n  one: {address: 10.99.2.2}\n  two: {address: no-such-name.invalid}\n")
	require.Len(t, find(all, "interface", ""), 1)
	require.Contains(t, find(all, "interface", "")[0].Mend, "datapath.interfaces")
	targets := find(all, "targets", "")[0]
	require.False(t, targets.OK)
	require.Contains(t, targets.Detail, "1 of 2 names do not resolve: no-such-name.invalid")
	require.Contains(t, targets.Detail, "route to 10.99.2.2: ")
}

// TestCheckOfThePinFolder mounts what the mend says.
func TestCheckOfThePinFolder(t *testing.T) {
	lab.Require(t, lab.Root)
	dir := t.TempDir()
	config := "datapath: {pin: " + dir + "/llama}\n"
	f := find(checkIn(t, nil, config), "bpffs", "")[0]
	require.False(t, f.OK)
	require.Contains(t, f.Mend, "mount -t bpf bpf "+dir)
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		if os.Getenv("LLAMA_TEST_NOSKIP") != "" {
			t.Fatalf("needs bpffs: %v", err)
		}
		t.Skipf("needs bpffs: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	require.True(t, find(checkIn(t, nil, config), "bpffs", "")[0].OK)
}

// TestCheckOfABPFFSOfAnother: what keeps this process out of the pin folder keeps the steps from it, and is not that
// the folder is the wrong one.
func TestCheckOfABPFFSOfAnother(t *testing.T) {
	drop := func() error {
		return errors.Join(unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_OVERRIDE, 0, 0, 0), unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_READ_SEARCH, 0, 0, 0))
	}
	lab.Require(t, lab.Root)
	dir := filepath.Join(t.TempDir(), "bpf")
	unmount, err := lab.MountBPF(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unmount()) })
	for _, mode := range []os.FileMode{0o700, 0o711} {
		require.NoError(t, os.Chmod(dir, mode))
		require.NoError(t, os.Chown(dir, 65534, 65534))
		var all []checked
		restricted(t, drop, func() { all = checkIn(t, nil, "datapath: {interfaces: [lo], pin: "+dir+"/llama}\n") })
		require.Equal(t, "as root, once a boot: chmod a+x "+dir+" && install -d -o 0 -m 700 "+dir+"/llama", find(all, "bpffs", "")[0].Mend)
		tc := find(all, "step tc", "lo")[0]
		require.False(t, tc.OK)
		require.Contains(t, tc.Detail, "not without the pin folder")
		require.True(t, find(all, "step socket", "lo")[0].OK)
	}
}

// TestCheckOfTheSpool: it is looked at, and not made.
func TestCheckOfTheSpool(t *testing.T) {
	lab.Require(t, lab.Root)
	dir := t.TempDir()
	config := "sinks: [{influx: {url: 'http://127.0.0.1:9', database: llama}}]\nspool: {path: " + dir + "/spool}\n"
	require.Len(t, find(checkIn(t, nil, config), "spool", ""), 1)
	require.NoDirExists(t, dir+"/spool")
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	require.NoError(t, os.Mkdir(dir+"/spool", 0o700))
	require.NoError(t, os.Chmod(dir+"/spool", 0o777))
	said := fmt.Sprint(find(checkIn(t, nil, config), "spool", ""))
	for _, want := range []string{"does not outlive a boot", "may need 1024 MiB", "open to all users (mode 0777)"} {
		require.Contains(t, said, want)
	}
}

// restricted runs fn on a thread of its own, whose children inherit what restrict takes from it.
func restricted(t testing.TB, restrict func() error, fn func()) {
	t.Helper()
	lab.Require(t, lab.Root)
	done := make(chan error, 1)
	go func() {
		defer close(done)      // also where a requirement in fn fails
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if err := restrict(); err != nil {
			done <- err
			return
		}
		fn()
	}()
	require.NoError(t, <-done)
}

// TestCheckWithoutCapabilities names the steps that go.
func TestCheckWithoutCapabilities(t *testing.T) {
	drop := func() error {
		for _, c := range []uintptr{unix.CAP_PERFMON, unix.CAP_SYS_ADMIN} {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return err
			}
		}
		return nil
	}
	var all []checked
	restricted(t, drop, func() { all = checkIn(t, nil, "") })
	caps := find(all, "capabilities", "")
	require.Len(t, caps, 3)
	require.NotContains(t, caps[0].Detail, "CAP_PERFMON")
	require.False(t, caps[1].OK)
	require.Contains(t, caps[1].Detail, "without CAP_PERFMON the kernel refuses programs that read packets: native, tc and generic are out")
	require.False(t, caps[0].OK)
	require.Contains(t, caps[0].Mend, "setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_bind_service+ep", "all of them: setcap replaces")
	require.True(t, caps[2].OK)
	require.Contains(t, caps[2].Detail, "without CAP_SYS_ADMIN no step needs it")
}

// TestCheckUnderSeccomp: a filter that refuses bpf(2), and one that kills who calls it, which check survives.
func TestCheckUnderSeccomp(t *testing.T) {
	for name, c := range map[string]struct {
		action uint32
		says   string
	}{
		"refuses": {unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), "a seccomp filter forbids bpf(2) (operation not permitted)"},
		"kills":   {unix.SECCOMP_RET_KILL_PROCESS, "a seccomp filter forbids bpf(2) (a process that called it: signal: bad system call"},
	} {
		t.Run(name, func(t *testing.T) {
			var all []checked
			restricted(t, func() error { return lab.ForbidCall(unix.SYS_BPF, c.action) }, func() { all = checkIn(t, nil, "") })
			f := find(all, "bpf call", "")[0]
			require.False(t, f.OK)
			require.Contains(t, f.Detail, c.says)
			require.Contains(t, f.Detail, "sockets remain")
			require.Contains(t, f.Mend, "SystemCallFilter=bpf")
		})
	}
	require.True(t, find(checkIn(t, nil, ""), "bpf call", "")[0].OK)
}
