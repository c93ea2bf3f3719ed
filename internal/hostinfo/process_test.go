//go:build linux

package hostinfo

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// without reads the process on a thread that has given up capabilities.
func without(t testing.TB, capabilities ...int) (p Process, call error) {
	t.Helper()
	lab.Require(t, lab.Root)
	onThread(func() {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		require.NoError(t, unix.Capget(&head, &data[0]))
		for _, c := range capabilities {
			data[c/32].Effective &^= 1 << (c % 32)
		}
		require.NoError(t, unix.Capset(&head, &data[0]))
		var err error
		p, err = ReadProcess()
		require.NoError(t, err)
		call = TryBPF()
	})
	return p, call
}

func TestCapabilities(t *testing.T) {
	all, err := without(t)
	require.Equal(t, BPFAllowed, all.BPF(err))
	require.Equal(t, []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"}, all.Capabilities)
	for _, c := range capNames {
		p, _ := without(t, c.number)
		require.False(t, p.Holds(c.number), c.name)
		require.Len(t, p.Capabilities, len(capNames)-1, c.name)
		require.NotContains(t, p.Capabilities, c.name)
		standsIn := c.number == CapBPF || c.number == CapPerfmon
		require.Equal(t, standsIn, p.Can(c.number), "%s, for which CAP_SYS_ADMIN stands in or not", c.name)

		p, _ = without(t, c.number, CapSysAdmin)
		require.False(t, p.Can(c.number), c.name)
	}
}

// TestBPFWithoutCapability: a kernel that refuses is not taken for a filter.
func TestBPFWithoutCapability(t *testing.T) {
	p, err := without(t, CapBPF, CapSysAdmin)
	if p.Seccomp == "filter" {
		missing(t, "a process without a seccomp filter", unix.EPERM)
	}
	require.NotEqual(t, BPFForbidden, p.BPF(err))
	require.Equal(t, BPFUnknown, p.BPF(unix.EPERM), "as Linux before 6.4 answers")
}

// TestSeccomp puts a real filter on a thread.
func TestSeccomp(t *testing.T) {
	for _, c := range []struct {
		name   string
		number int
		errno  unix.Errno
		want   BPFVerdict
	}{
		{"another call forbidden", unix.SYS_ACCT, unix.EPERM, BPFAllowed},
		{"EPERM, as containers have it", unix.SYS_BPF, unix.EPERM, BPFForbidden},
		{"EACCES", unix.SYS_BPF, unix.EACCES, BPFForbidden},
		{"ENOSYS, as newer containers have it", unix.SYS_BPF, unix.ENOSYS, BPFAbsent},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab.Require(t, lab.Root)
			var p Process
			var call, noFilter, err error
			onThread(func() {
				noFilter = lab.ForbidCall(c.number, unix.SECCOMP_RET_ERRNO|uint32(c.errno))
				p, err = ReadProcess()
				call = TryBPF()
			})
			if noFilter != nil {
				missing(t, "seccomp filters", noFilter)
			}
			require.NoError(t, err)
			require.Equal(t, "filter", p.Seccomp)
			require.Equal(t, c.want, p.BPF(call), "%v", call)
		})
	}
	p, err := ReadProcess()
	require.NoError(t, err)
	require.NotEmpty(t, p.Seccomp)
	require.Equal(t, BPFForbidden, p.BPF(fmt.Errorf("killed")), "what is no errno was a filter's work")
}

// userNamespaceChild makes the test binary print what it is.
const userNamespaceChild = "LLAMA_HOSTINFO_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(userNamespaceChild) == "" {
		os.Exit(m.Run())
	}
	p, err := ReadProcess()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(p)
}

// TestUserNamespace: root there has every capability, and BPF takes none of them.
func TestUserNamespace(t *testing.T) {
	p, err := ReadProcess()
	require.NoError(t, err)
	if p.UserNamespace {
		missing(t, "the host's user namespace", unix.EPERM)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), userNamespaceChild+"=1")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids}
	out, err := cmd.Output()
	if err != nil {
		missing(t, "user namespaces", err)
	}
	require.NoError(t, json.Unmarshal(out, &p), "%s", out)
	require.True(t, p.UserNamespace)
	require.Contains(t, p.Capabilities, "CAP_BPF", "which is why the namespace has to be said")
}
