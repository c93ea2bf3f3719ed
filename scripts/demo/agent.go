//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What the agents probe, and how often. A window's lines come once its last
// probe is decided: late after its end.
const (
	sourcePorts = 8
	interval    = 25 * time.Millisecond
	window      = time.Second
	timeout     = 200 * time.Millisecond
	late        = time.Second
)

var classes = []string{"be", "ef"}

// target is a host that an agent probes.
type target struct{ name, address string }

// configOf is the configuration of the agent on the host called name. Its lines
// go to standard output, as they would go to a database.
// pin is the folder for what it puts into the kernel; "" leaves all to the sockets.
func configOf(name, listen string, port uint16, pin string, targets []target) string {
	var s strings.Builder
	datapath := "{mode: socket}"
	if pin != "" {
		datapath = fmt.Sprintf("{pin: %q}", pin)
	}
	fmt.Fprintf(&s, "host: {name: %s}\ndatapath: %s\nreflector: {listen: [%q]}\napi: {listen: \"\"}\nsinks: [{stdout: {}}]\n", name, datapath, listen)
	fmt.Fprintf(&s, "probing: {classes: [%s], ports: %d, interval: %s, window: %s, timeout: %s, late: %s}\n",
		strings.Join(classes, ", "), sourcePorts, interval, window, timeout, late)
	s.WriteString("targets:\n")
	for _, t := range targets {
		fmt.Fprintf(&s, "  %s: {address: %q, port: %d}\n", t.name, t.address, port)
	}
	return s.String()
}

// agent is a running llama-agent.
type agent struct {
	name string
	cmd  *exec.Cmd
	log  bytes.Buffer // to be read once it has ended
	stop context.CancelFunc
	done chan struct{}
}

// command prepares a process: exec.CommandContext, or the same in a namespace.
type command func(ctx context.Context, name string, args ...string) *exec.Cmd

// startAgent runs an agent with this configuration, written to dir. take gets its lines.
func startAgent(cmd command, program, dir, name, config string, take func([]byte)) (*agent, error) {
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("start agent on %s: %w", name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &agent{name: name, stop: stop, done: make(chan struct{})}
	a.cmd = cmd(ctx, program, "run", "--config", file)
	a.cmd.Stdout, a.cmd.Stderr = &splitter{take: take}, &a.log
	// Ctrl-C is for the demo, which then stops the agents. Should it be killed, they end too.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	a.cmd.Cancel = func() error { return a.cmd.Process.Signal(syscall.SIGTERM) }
	a.cmd.WaitDelay = 5 * time.Second // then by SIGKILL
	if err := a.cmd.Start(); err != nil {
		stop()
		return nil, fmt.Errorf("start agent on %s: %w", name, err)
	}
	go func() {
		_ = a.cmd.Wait() // the state is looked at
		close(a.done)
	}()
	return a, nil
}

// alive is an error once the agent has ended.
func (a *agent) alive() error {
	select {
	case <-a.done:
		return fmt.Errorf("agent on %s: %s\n%s", a.name, a.cmd.ProcessState, tail(a.log.String()))
	default:
		return nil
	}
}

// stopAgents ends all of them at once, in order, and says which did not end well.
// Those that ended by themselves have been told of by alive.
func stopAgents(agents []*agent) error {
	var running []*agent
	for _, a := range agents {
		if a.alive() == nil {
			running = append(running, a)
		}
		a.stop()
	}
	var errs []error
	for _, a := range running {
		<-a.done
		if !a.cmd.ProcessState.Success() {
			errs = append(errs, fmt.Errorf("stop agent on %s: %s\n%s", a.name, a.cmd.ProcessState, tail(a.log.String())))
		}
	}
	return errors.Join(errs...)
}

// tail is the end of a log.
func tail(s string) string { return strings.TrimSpace(s[max(0, len(s)-600):]) }

// splitter hands over what is written to it line by line.
type splitter struct {
	mu   sync.Mutex // protects rest
	rest []byte
	take func(line []byte)
}

func (s *splitter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		line, rest, whole := bytes.Cut(s.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		s.take(line)
		s.rest = rest
	}
}
