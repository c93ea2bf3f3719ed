//go:build linux

// Command init is process 1 of a test guest: it mounts what tests expect, loads the modules, runs the test binaries of
// the plan and ends the machine. Process 1 itself only reaps: what tests orphan must not stay about as zombies that look
// alive. The work is done by a child.
package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

// verdicts is the second serial port: the kernel's words on the first do not mix with the tests'.
const verdicts = "/dev/ttyS1"

func main() {
	if os.Getpid() != 1 {
		os.Exit(worker())
	}
	if err := mountAll(); err != nil {
		println("init:", err.Error())
	}
	if err := reap(); err != nil {
		println("init:", err.Error())
	}
	unix.Sync()
	// The emulator runs with -no-reboot: this ends it.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// reap starts the worker and waits for every child until the worker has ended.
func reap() error {
	p, err := os.StartProcess("/init", []string{"init-worker"}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case pid == p.Pid:
			return nil
		}
	}
}

func worker() int {
	out, err := os.OpenFile(verdicts, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		println("init:", err.Error())
		return 1
	}
	if err := makeRaw(out); err != nil {
		println("init:", err.Error())
	}
	if err := work(out); err != nil {
		_ = wire.Write(out, wire.Event{Kind: wire.Problem, Text: err.Error()})
		return 1
	}
	_ = wire.Write(out, wire.Event{Kind: wire.Done})
	// The line must be out before the machine ends.
	_ = unix.IoctlSetInt(int(out.Fd()), unix.TCSBRK, 1)
	return 0
}
