//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// agent is a `run` or `reflect` that goes on in a host.
type agent struct {
	cmd  *exec.Cmd
	log  output // standard error
	out  output // standard output
	done chan struct{}
	err  error // valid once done is closed
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex // protects buf
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// command prepares the program in the host, before other work of the machine where that is allowed: what these
// tests hold it against is the network, not the scheduler. nice(1) becomes the program, with the same pid.
func command(ctx context.Context, h *lab.Host, args ...string) *exec.Cmd {
	return h.Command(ctx, "nice", append([]string{"-n", "-15", program}, args...)...)
}

// startAgent starts the program in the host and waits until it has logged ready.
func startAgent(t testing.TB, h *lab.Host, ready string, args ...string) *agent {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &agent{cmd: command(ctx, h, args...), done: make(chan struct{})}
	a.cmd.Stdout, a.cmd.Stderr = &a.out, &a.log
	require.NoError(t, a.cmd.Start())
	go func() {
		a.err = a.cmd.Wait()
		close(a.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-a.done
		if t.Failed() {
			t.Logf("%v:\n%s", args, &a.log)
		}
	})
	a.logs(t, ready)
	return a
}

// reflect starts a reflector on all addresses, port 862: in the kernel at TC, which is what veth gets by itself too, and
// named so that the kernel has nothing else to verify.
func reflect(t testing.TB, h *lab.Host, args ...string) *agent {
	t.Helper()
	a := startAgent(t, h, "msg=reflecting listen", append([]string{"reflect", "--pin", newPin(), "--mode", "tc"}, args...)...)
	a.logs(t, "mode=tc")
	return a
}

// reflectOverSockets is reflect for what only the sockets do, or do otherwise.
func reflectOverSockets(t testing.TB, h *lab.Host, args ...string) *agent {
	t.Helper()
	return startAgent(t, h, "msg=reflecting listen", append([]string{"reflect", "--mode", "socket"}, args...)...)
}

// logs waits until the agent has logged the text.
func (a *agent) logs(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(a.log.String(), text) || a.ended() }, "log of %q", text)
	require.Contains(t, a.log.String(), text)
}

func (a *agent) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func (a *agent) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	require.NoError(t, a.cmd.Process.Signal(s))
}

// stop ends the agent as a service manager does, and expects it to end well.
func (a *agent) stop(t testing.TB) {
	t.Helper()
	a.signal(t, syscall.SIGTERM)
	select {
	case <-a.done:
		require.NoError(t, a.err, "%s", &a.log)
	case <-time.After(15 * time.Second):
		t.Fatalf("agent goes on 15 s after SIGTERM: %s", &a.log)
	}
}

// kill ends the agent without a word.
func (a *agent) kill(t testing.TB) {
	t.Helper()
	a.signal(t, syscall.SIGKILL)
	<-a.done
	var exit *exec.ExitError
	require.True(t, errors.As(a.err, &exit))
}

func eventually(t testing.TB, ok func() bool, what string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, ok, time.Minute, 10*time.Millisecond, what, args...)
}
