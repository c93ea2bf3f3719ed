package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
	"github.com/llama-agent/llama-agent/pkg/loader"
)

// A hostCheck says what the kernel datapath finds on this host.
type hostCheck struct {
	cfg     *config.Config
	targets []netip.Addr // of the configuration's, the first few

	// tryBPF makes one harmless call of bpf(2).
	tryBPF func(hostinfo.Process) error
	// owner names who loaded a program; our own are agentName's. nil: unknown.
	owner func(programID uint32) string
	// judge says which steps of the ladder work on an interface, and what attaching
	// would do to its link. nil: the steps are left out.
	judge func(hostinfo.Interface) []stepJudgement
	// start says why a mode that names a step cannot be had. nil: no program can.
	start func(loader.Mode) error
	// pin is of the folder without which no step but socket can be had.
	pin finding
}

// agentName is what hostCheck.owner says of our own programs.
const agentName = "llama-agent"

func newHostCheck(cfg *config.Config) *hostCheck {
	dry := &loader.DryRun{ResetLink: cfg.Datapath.ResetLink}
	return &hostCheck{
		cfg: cfg, tryBPF: tryBPF, owner: programOwner, pin: checkPin(cfg.Datapath.Pin),
		judge: func(i hostinfo.Interface) []stepJudgement { return judgeSteps(dry, i.Name) },
		start: func(m loader.Mode) error { return dry.Start(kernelOptions(cfg, m, nil)) },
	}
}

func programOwner(id uint32) string {
	who, ours := loader.ProgramOwner(id)
	if ours {
		return agentName
	}
	return who
}

func judgeSteps(dry *loader.DryRun, name string) (out []stepJudgement) {
	all, err := dry.Judge(name)
	if err != nil {
		return nil // it went away meanwhile
	}
	for _, j := range all {
		out = append(out, stepJudgement{Step: j.Step.String(), Works: j.Works, Why: j.Why, LinkEffect: j.LinkEffect})
	}
	return out
}

// kernel is what no interface has a part in.
func (h *hostCheck) kernel() []finding {
	k := hostinfo.ReadKernel()
	out := []finding{checkKernel(k), checkBTF(k)}
	if k.JIT != nil {
		out = append(out, checkJIT(*k.JIT))
	}
	p, err := hostinfo.ReadProcess()
	if err != nil {
		out = append(out, finding{Name: "capabilities", Detail: err.Error()})
	} else {
		tried := h.tryBPF(p)
		if p.BPF(tried) != hostinfo.BPFAllowed {
			h.judge, h.owner, h.start = nil, nil, nil // a call of ours could be our end; the finding says what is out
		}
		out = append(out, checkBPF(p, tried))
		out = append(out, checkCapabilities(p)...)
	}
	return append(out, h.pin)
}

func checkKernel(k hostinfo.Kernel) finding {
	return finding{Name: "kernel", OK: true, Detail: k.Release, Data: k}
}

func checkBTF(k hostinfo.Kernel) finding {
	if k.BTF {
		return finding{Name: "btf", OK: true, Detail: "the kernel's types are there (/sys/kernel/btf/vmlinux)"}
	}
	return finding{Name: "btf", Detail: "no /sys/kernel/btf/vmlinux: programs that need the kernel's types do not load (NIC stamps)",
		Mend: "a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a container: mount the host's /sys"}
}

func checkJIT(on bool) finding {
	if on {
		return finding{Name: "jit", OK: true, Detail: "BPF programs are compiled"}
	}
	return finding{Name: "jit", Detail: "BPF programs are interpreted, which is slower",
		Mend: "sysctl net.core.bpf_jit_enable=1, or a kernel built with CONFIG_BPF_JIT=y"}
}

func checkBPF(p hostinfo.Process, err error) finding {
	const cost = ": native, tc and generic are out, sockets remain"
	f := finding{Name: "bpf call", Data: map[string]any{"verdict": p.BPF(err), "seccomp": p.Seccomp}}
	switch p.BPF(err) {
	case hostinfo.BPFAllowed:
		f.OK, f.Detail = true, "bpf(2) answers this process"
	case hostinfo.BPFAbsent:
		f.Detail, f.Mend = "there is no bpf(2) here"+cost, "a kernel built with CONFIG_BPF_SYSCALL=y; in a container: a seccomp profile that allows bpf"
	case hostinfo.BPFUnknown:
		f.Detail = "bpf(2) refuses this process before it looks at the call, for want of CAP_BPF"
	default:
		f.Detail = fmt.Sprintf("a security module forbids bpf(2) (%v)%s", err, cost)
		f.Mend = "see the audit log for what refused it (SELinux, AppArmor), and allow bpf to the agent"
		if p.Seccomp == "filter" {
			f.Detail = fmt.Sprintf("a seccomp filter forbids bpf(2) (%v)%s", err, cost)
			f.Mend = "allow the call bpf: in the unit SystemCallFilter=bpf, in a container its seccomp profile"
		}
	}
	return f
}

// capabilityCost is what goes when one is missing.
var capabilityCost = []struct {
	capability int
	name, cost string
}{
	{hostinfo.CapBPF, "CAP_BPF", "programs and maps cannot be loaded: native, tc and generic are out, sockets remain"},
	{hostinfo.CapPerfmon, "CAP_PERFMON", "the kernel refuses programs that read packets: native, tc and generic are out, sockets remain"},
	{hostinfo.CapNetAdmin, "CAP_NET_ADMIN", "programs cannot be attached: native, tc and generic are out, sockets remain, with net.core.rmem_max as their limit"},
	{hostinfo.CapSysAdmin, "CAP_SYS_ADMIN", "no step needs it beside CAP_BPF and CAP_PERFMON; the owner of another program is not named without it"},
	{hostinfo.CapNetRaw, "CAP_NET_RAW", "no step needs it, but probing.emit: packet does; where net.core.tstamp_allow_data is 0 there are no transmit stamps"},
	{hostinfo.CapNetBindService, "CAP_NET_BIND_SERVICE", "UDP ports below net.ipv4.ip_unprivileged_port_start, such as 862, cannot be bound, and every step needs the socket beside it"},
}

// mendCapabilities names all that any step needs: setcap replaces what was there.
const mendCapabilities = "AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_BIND_SERVICE in the unit, " +
	"setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_bind_service+ep on the program, or the same in a container's capabilities"

// checkCapabilities is of this process, which has to be run as the agent is.
func checkCapabilities(p hostinfo.Process) []finding {
	have := "none of those that matter"
	if len(p.Capabilities) > 0 {
		have = strings.Join(p.Capabilities, ", ")
	}
	out := []finding{{Name: "capabilities", OK: true, Detail: fmt.Sprintf("uid %d has %s", p.UID, have), Data: p}}
	if p.UserNamespace {
		out = append(out, finding{Name: "capabilities", Detail: "they are of a user namespace, BPF asks for the host's: native, tc and generic are out, sockets remain",
			Mend: "run the agent in the host's user namespace (no rootless container, no userns remapping)"})
	}
	for _, c := range capabilityCost {
		if p.Can(c.capability) {
			continue
		}
		// Only what costs a step, or the port, is a fault.
		f := finding{Name: "capabilities", Detail: "without " + c.name + " " + c.cost}
		switch c.capability {
		case hostinfo.CapSysAdmin, hostinfo.CapNetRaw:
			f.OK = true
		case hostinfo.CapNetBindService:
			f.OK = sysctl("net/ipv4/ip_unprivileged_port_start") == "0"
		}
		if !f.OK {
			out[0].OK, out[0].Mend = false, mendCapabilities
		}
		out = append(out, f)
	}
	return out
}

func checkPin(path string) finding {
	p, err := hostinfo.ReadPinFolder(path)
	if errors.Is(err, fs.ErrPermission) {
		return finding{Name: "bpffs", Detail: err.Error(), Mend: mendPin(path)}
	}
	if err != nil {
		return finding{Name: "bpffs", Detail: err.Error(), Mend: "set datapath.pin to a folder in a bpffs, such as /sys/fs/bpf/llama"}
	}
	f := finding{Name: "bpffs", Data: p}
	mount := filepath.Dir(filepath.Clean(path))
	switch {
	case !p.BPFFS && slices.Contains([]string{path, mount}, p.On):
		f.Detail = fmt.Sprintf("%s is not in a bpffs: nothing can be pinned there that would outlive the agent", path)
		f.Mend = fmt.Sprintf("mount -t bpf bpf %s (in a container: mount the host's there)", mount)
	case !p.BPFFS:
		f.Detail = fmt.Sprintf("%s is not there, nor is a bpffs above it: nothing can be pinned that would outlive the agent", mount)
		f.Mend = fmt.Sprintf("mkdir -p %s && mount -t bpf bpf %s", mount, mount)
	case p.ReadOnly:
		f.Detail = fmt.Sprintf("%s is in a bpffs that is mounted read-only: nothing can be pinned there", path)
		f.Mend = fmt.Sprintf("mount -o remount,rw %s (in a container: mount the host's so)", mount)
	case !p.Writable:
		f.Detail = fmt.Sprintf("%s is in a bpffs, but uid %d may not write to %s", path, unix.Geteuid(), p.On)
		f.Mend = mendPin(path)
	default:
		f.OK, f.Detail = true, path+" can be made: there is a bpffs"
		if p.Exists {
			f.Detail = path + " is there, in a bpffs"
		}
	}
	return f
}

// mendPin is for an agent that is not root, which systemd's bpffs (mode 0700) lets in nowhere.
func mendPin(path string) string {
	return fmt.Sprintf("as root, once a boot: chmod a+x %s && install -d -o %d -m 700 %s", filepath.Dir(filepath.Clean(path)), unix.Geteuid(), path)
}

// tryBPFFlag makes check print nothing but what bpf(2) returned.
const tryBPFFlag = "try-bpf"

// tryBPF leaves the call to a child where a seccomp filter could kill the caller.
func tryBPF(p hostinfo.Process) error {
	if p.Seccomp != "filter" {
		return hostinfo.TryBPF()
	}
	out, err := exec.Command("/proc/self/exe", "check", "--"+tryBPFFlag).Output()
	if err != nil {
		return fmt.Errorf("a process that called it: %w", err)
	}
	errno, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return fmt.Errorf("read what bpf(2) returned: %w", err)
	}
	return unix.Errno(errno)
}

func printTryBPF(w io.Writer) error {
	errno, _ := hostinfo.TryBPF().(unix.Errno) //nolint:errorlint // it is of that type or nil
	_, err := fmt.Fprintln(w, int(errno))
	return err
}
