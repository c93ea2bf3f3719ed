package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// A guest is one kernel's run.
type guest struct {
	kernel  kernel
	logs    string // folder
	timeout time.Duration
	cpus    int // 0: one, and a clock that counts its instructions
	noSkip  bool
}

// commandLine of the kernel: its words on the first port; no watchdogs, which take a slow emulator for a hang; a panic
// ends the guest at once, and so does an oops.
const commandLine = "console=ttyS0 loglevel=5 panic=-1 oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1 " +
	"random.trust_cpu=1 net.ifnames=0"

func (g *guest) log(kind string) string { return filepath.Join(g.logs, g.kernel.line+"."+kind) }

func (g *guest) fetchAndRun(ctx context.Context, s *store, b *base) (*verdict, error) {
	dir, err := s.fetch(ctx, &g.kernel)
	if err != nil {
		return nil, err
	}
	return g.run(ctx, b, dir)
}

// run boots the kernel, waits for its end, and judges by what it wrote.
func (g *guest) run(ctx context.Context, b *base, dir string) (*verdict, error) {
	initramfs := g.log("initramfs")
	lacking, err := b.image(ctx, initramfs, dir, g.kernel.release)
	if err != nil {
		return nil, err
	}
	defer os.Remove(initramfs)
	for _, kind := range []string{"tests.log", "console.log"} {
		if err := os.WriteFile(g.log(kind), nil, 0o644); err != nil {
			return nil, fmt.Errorf("write log: %w", err)
		}
	}
	started := time.Now()
	limited, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	out, runErr := g.emulator(limited, initramfs, dir).CombinedOutput()
	took := time.Since(started)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	tests, err1 := os.ReadFile(g.log("tests.log"))
	console, err2 := os.ReadFile(g.log("console.log"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("read what the guest wrote: %w", err)
	}
	v := judge(bytes.NewReader(tests), b.runs)
	v.took, v.lacking = took, lacking
	if g.noSkip {
		v.refuseSkips(g.kernel.version)
	}
	switch {
	case limited.Err() != nil:
		v.problem("the guest hung: ended after %s", g.timeout)
	case runErr != nil:
		v.problem("the emulator failed: %v\n%s", runErr, bytes.TrimSpace(out))
	}
	if v.release != "" && v.release != g.kernel.release {
		v.problem("the guest runs %s instead of %s", v.release, g.kernel.release)
	}
	if bad := kernelComplaint(console); bad != "" {
		v.problem("the kernel complained:\n%s", bad)
	}
	if len(v.problems) > 0 && v.release == "" {
		v.problem("the last words of the kernel:\n%s", tail(console, 20))
	}
	return v, nil
}

// emulator returns the machine. KVM is not to be had everywhere. The guest's clock counts what its processor executes, a
// nanosecond an instruction, and skips what it sleeps: tests that rely on time see a quick machine at rest, whatever this
// one does beside. That needs a single processor; with several, time is real, and slow.
func (g *guest) emulator(ctx context.Context, initramfs, dir string) *exec.Cmd {
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
		// Without cx16: emulating cmpxchg16b, qemu 7.2 crashed guests in the allocator. Without erms: kernels would then
		// copy by an instruction that copies an octet at a time here, which costs the verifier of 5.10 a fifth.
		"-machine", "q35", "-accel", "tcg", "-cpu", "max,-cx16,-erms", "-m", "1024",
		"-chardev", "file,id=console,path=" + g.log("console.log"), "-serial", "chardev:console",
		"-chardev", "file,id=tests,path=" + g.log("tests.log"), "-serial", "chardev:tests",
		"-device", "virtio-rng-pci",
		// NICs for tests to attach to, on a hub of the emulator's own: nothing leaves the guest. Their drivers are loaded
		// in this order, which makes them eth0 and eth1.
		"-netdev", "hubport,id=nic0,hubid=0", "-device", "virtio-net-pci,netdev=nic0,romfile=",
		"-netdev", "hubport,id=nic1,hubid=0", "-device", "vmxnet3,netdev=nic1,romfile=",
		"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", initramfs, "-append", commandLine,
	}
	if g.cpus > 0 {
		args = append(args, "-smp", strconv.Itoa(g.cpus))
	} else {
		args = append(args, "-icount", "shift=0,sleep=off")
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// complaint is how a kernel says that something is wrong with it.
var complaint = regexp.MustCompile(`(?m)^.*(Kernel panic|BUG:|BUG at|Oops|general protection fault|WARNING: |UBSAN:|KASAN:|unregister_netdevice: waiting for).*$`)

// kernelComplaint returns the first complaint and what follows it.
func kernelComplaint(console []byte) string {
	at := complaint.FindIndex(console)
	if at == nil {
		return ""
	}
	return head(console[at[0]:], 30)
}

func head(b []byte, lines int) string {
	all := bytes.SplitAfterN(b, []byte("\n"), lines+1)
	return string(bytes.Join(all[:min(lines, len(all))], nil))
}

func tail(b []byte, lines int) string {
	all := bytes.SplitAfter(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], nil))
}
