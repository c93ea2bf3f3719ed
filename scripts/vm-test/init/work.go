//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

func work(out *os.File) error {
	b, err := os.ReadFile(wire.PlanPath)
	if err != nil {
		return err
	}
	var plan wire.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return fmt.Errorf("decode plan: %w", err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	if err := wire.Write(out, wire.Event{Kind: wire.Boot, Text: unix.ByteSliceToString(name.Release[:])}); err != nil {
		return err
	}
	problem := func(err error) error {
		return wire.Write(out, wire.Event{Kind: wire.Problem, Text: err.Error()})
	}
	for _, m := range plan.Modules {
		if err := load(m); err != nil {
			if err := problem(err); err != nil {
				return err
			}
		}
	}
	if err := loopbackUp(); err != nil {
		if err := problem(err); err != nil {
			return err
		}
	}
	for i := range plan.Runs {
		if err := runOne(out, &plan.Runs[i], plan.Env); err != nil {
			return err
		}
	}
	return nil
}

func load(m wire.Module) error {
	f, err := os.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), m.Params, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", m.Name, err)
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// runOne runs a test binary, its output straight to the port: what it last said stays, whatever becomes of the guest.
func runOne(out *os.File, r *wire.Run, env []string) error {
	if err := wire.Write(out, wire.Event{Kind: wire.Begin, Package: r.Package}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Binary, r.Args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.Dir, env, out, out
	started := time.Now() // monotonic: tests may set the clock
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		_, _ = io.WriteString(out, "\n"+err.Error()+"\n")
	}
	status := 127
	if cmd.ProcessState != nil {
		status = cmd.ProcessState.ExitCode() // -1 if it was killed
	}
	return wire.Write(out, wire.Event{Kind: wire.End, Package: r.Package, Status: status, Seconds: time.Since(started).Seconds()})
}
