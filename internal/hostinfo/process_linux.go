package hostinfo

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is what the calling thread may do.
type Process struct {
	UID          int      `json:"uid"`
	Capabilities []string `json:"capabilities"` // effective ones, of those in capNames
	// UserNamespace: BPF asks for capabilities of the host, those here are of a namespace.
	UserNamespace bool   `json:"user_namespace"`
	Seccomp       string `json:"seccomp,omitempty"` // off, strict, filter; "": unknown

	effective uint64
}

// The capabilities that the agent has a use for.
const (
	CapBPF            = unix.CAP_BPF
	CapNetAdmin       = unix.CAP_NET_ADMIN
	CapPerfmon        = unix.CAP_PERFMON
	CapNetRaw         = unix.CAP_NET_RAW
	CapNetBindService = unix.CAP_NET_BIND_SERVICE
	CapSysAdmin       = unix.CAP_SYS_ADMIN
)

var capNames = []struct {
	number int
	name   string
}{
	{CapBPF, "CAP_BPF"},
	{CapNetAdmin, "CAP_NET_ADMIN"},
	{CapPerfmon, "CAP_PERFMON"},
	{CapNetRaw, "CAP_NET_RAW"},
	{CapNetBindService, "CAP_NET_BIND_SERVICE"},
	{CapSysAdmin, "CAP_SYS_ADMIN"},
}

// ReadProcess looks at the calling thread.
func ReadProcess() (Process, error) {
	p := Process{UID: unix.Geteuid(), Capabilities: []string{}}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return p, fmt.Errorf("read capabilities: %w", err)
	}
	p.effective = uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
	for _, c := range capNames {
		if p.Holds(c.number) {
			p.Capabilities = append(p.Capabilities, c.name)
		}
	}
	// The host's own user namespace maps every user to itself.
	if m := strings.Fields(readLine("/proc/thread-self/uid_map")); len(m) > 0 {
		p.UserNamespace = strings.Join(m, " ") != "0 0 4294967295"
	}
	modes := map[string]string{"0": "off", "1": "strict", "2": "filter"}
	for line := range strings.Lines(readLine("/proc/thread-self/status")) {
		if v, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			p.Seccomp = modes[strings.TrimSpace(v)]
		}
	}
	return p, nil
}

// Holds says whether the capability itself is effective.
func (p Process) Holds(capability int) bool { return p.effective>>capability&1 != 0 }

// Can is Holds, or that CAP_SYS_ADMIN stands in, as the kernel lets it for
// CAP_BPF and CAP_PERFMON, which were once a part of it.
func (p Process) Can(capability int) bool {
	older := capability == CapBPF || capability == CapPerfmon
	return p.Holds(capability) || older && p.Holds(CapSysAdmin)
}
