package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// namespace is a lab's host or its fabric.
type namespace interface {
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// process is something pinned to one core that runs until it is stopped.
type process struct {
	bench  *bench
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
	err    error // once done is closed
}

// start runs a program on a core of the host. nsenter, nice and taskset become it: the pid is its own.
func (b *bench) start(h namespace, core int, name string, args ...string) (*process, error) {
	p := &process{bench: b, done: make(chan struct{})}
	p.cmd = b.command(h, core, name, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := b.begin(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// command is for a core of the host, and for the niceness that all of the bench
// has, busy loops included: on a shared machine a negative one keeps others off.
func (b *bench) command(h namespace, core int, name string, args ...string) *exec.Cmd {
	all := append([]string{"-n", strconv.Itoa(b.scale.nice), "taskset", "-c", strconv.Itoa(core), name}, args...)
	return h.Command(b.ctx, "nice", all...)
}

// begin starts a process in a session of its own: ^C is for the bench, which then
// stops it, and where the kernel schedules by session (autogroup) the niceness
// has to be the session's to count.
func (b *bench) begin(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	group := fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid)
	_ = os.WriteFile(group, []byte(strconv.Itoa(b.scale.nice)), 0) // a kernel without it needs none
	return nil
}

// serve is start, and returns when the port is bound.
func (b *bench) serve(h *lab.Host, core, port int, name string, args ...string) (*process, error) {
	p, err := b.start(h, core, name, args...)
	if err != nil {
		return nil, err
	}
	if err := waitBound(h, port); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, p.output.String())
	}
	return p, nil
}

// output runs a program on a core of the host to its end.
func (b *bench) output(h namespace, core int, name string, args ...string) (string, *os.ProcessState, error) {
	cmd := b.command(h, core, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := b.begin(cmd); err != nil {
		return "", nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), cmd.ProcessState, fmt.Errorf("%s: %w\n%s", name, err, tail(errs.String()))
	}
	return out.String(), cmd.ProcessState, nil
}

func tail(s string) string { return s[max(0, len(s)-500):] }

// stop asks for an orderly end, by SIGTERM, and returns when the process is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// alive is an error once the process has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %w\n%s", p.cmd.Path, errors.Join(p.err), tail(p.output.String()))
	default:
		return nil
	}
}

// cpu is the time that the process has had, of all its threads: what utime and
// stime of /proc/PID/stat are made of, in ns instead of ticks. What the kernel
// does for its packets inside its system calls is in it.
func (p *process) cpu() (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", errors.Join(err, p.alive()))
	}
	return time.Duration(t.Nano()), nil
}

// rss is the resident memory in MB.
func (p *process) rss() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	kB, ok := fieldOf(string(text), "VmRSS:")
	if !ok {
		return 0, errors.New("read resident memory: none there")
	}
	return kB * 1024 / 1e6, nil
}

// waited is for how long threads could have run, and another program had the core.
func (p *process) waited() (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	for _, f := range files {
		var run, wait int64                          // ns
		if text, err := os.ReadFile(f); err == nil { // a thread that has ended waits no more
			_, _ = fmt.Sscan(string(text), &run, &wait) // the kernel writes three numbers
			sum += time.Duration(wait)
		}
	}
	return sum
}

// usage is what a process did in some time.
type usage struct {
	cpu, elapsed time.Duration
	waited       time.Duration // for the core, which another program had
	rss          float64       // MB, at the end
}

func (u usage) percent() float64 { return percent(u.cpu, u.elapsed) }

func percent(part, of time.Duration) float64 { return 100 * part.Seconds() / of.Seconds() }

// during measures the process while fn runs.
func (p *process) during(fn func() error) (u usage, err error) {
	before, err := p.cpu()
	if err != nil {
		return u, err
	}
	start, waited := time.Now(), p.waited()
	if err := fn(); err != nil {
		return u, err
	}
	after, err := p.cpu()
	if err != nil {
		return u, err
	}
	u.cpu, u.elapsed = after-before, time.Since(start)
	u.waited = p.waited() - waited
	p.bench.waits = append(p.bench.waits, percent(u.waited, u.elapsed))
	u.rss, err = p.rss()
	return u, errors.Join(err, p.alive())
}
