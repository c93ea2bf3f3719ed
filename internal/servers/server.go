//go:build linux

package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Place is where a server runs and is asked from, such as a host of the lab.
type Place interface {
	Do(func() error) error
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// readyMost bounds a start; a machine that stands still makes it long.
const readyMost = 60 * time.Second

// Server is a program on loopback with a folder of its own.
type Server struct {
	Addr string // host and port of its main listener
	URL  string // of that, if it speaks HTTP
	Dir  string // its folder, which goes with the test

	t      testing.TB
	place  Place
	args   []string // the program first
	ready  func() bool
	client *http.Client
	log    output

	mu     sync.Mutex // protects the fields below
	cmd    *exec.Cmd  // nil while it does not run
	done   chan struct{}
	before int // octets of log before this start
}

// output is what a server has written so far.
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

// newServer prepares a program that is found in PATH or bin/tools. The caller sets args and ready, and starts it.
func newServer(t testing.TB, place Place, program string) *Server {
	t.Helper()
	if place == nil {
		place = here{}
	}
	s := &Server{t: t, place: place, Dir: t.TempDir(), args: []string{find(t, program)}}
	s.Addr = s.freeAddr()
	s.URL = "http://" + s.Addr
	s.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			log := s.log.String()
			t.Logf("%s:\n%s", program, log[max(0, len(log)-4000):])
		}
	})
	return s
}

// Program says where a program of these is that is no server, such as promtool.
func Program(t testing.TB, name string) string {
	t.Helper()
	return find(t, name)
}

// find says where a program is. Without it the test is skipped, or fails where LLAMA_TEST_NOSKIP is set.
func find(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	for dir, _ := os.Getwd(); err != nil && dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		path, err = exec.LookPath(filepath.Join(dir, "bin", "tools", program)) // for `go test` outside make
	}
	switch {
	case err == nil:
	case os.Getenv("LLAMA_TEST_NOSKIP") != "":
		t.Fatalf("needs %s: ./scripts/setup.sh test", program)
	default:
		t.Skipf("needs %s: ./scripts/setup.sh test", program)
	}
	return path
}

// here is this process's own network.
type here struct{}

func (here) Do(fn func() error) error { return fn() }
func (here) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}

func (s *Server) freeAddr() (addr string) {
	s.t.Helper()
	require.NoError(s.t, s.place.Do(func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addr = l.Addr().String()
		return l.Close()
	}))
	return addr
}

// dial connects from where the server runs.
func (s *Server) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = s.place.Do(func() error {
		c, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Client asks from where the server runs, over a new connection each time.
func (s *Server) Client() *http.Client { return s.client }

// Log is what the server has written to standard output and standard error.
func (s *Server) Log() string { return s.log.String() }

// Start starts the server, on the same port and folder each time, and waits until it is ready.
func (s *Server) Start() {
	s.t.Helper()
	require.NoError(s.t, s.launch())
	done := s.done
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	require.Eventually(s.t, func() bool { return ended() || s.ready() }, readyMost, 20*time.Millisecond, "%s is not ready", s.args[0])
	require.False(s.t, ended(), "%s has ended: %s", s.args[0], &s.log)
}

// launch has a thread of its own for the server, which the kernel ends with that thread: a test that dies leaves
// nothing behind.
func (s *Server) launch() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("it runs")
	}
	s.before = len(s.log.String())
	cmd := s.place.Command(context.Background(), s.args[0], s.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the exit status of a server that was told to stop says nothing
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.done = cmd, done
	return nil
}

// Stop ends the server as a service manager does. It may have ended before.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server without a word.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Process.Signal(syscall.SIGCONT) // or one that is frozen would not see it
	kill := time.AfterFunc(15*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	<-s.done
	s.cmd = nil
}

// Freeze stops the server in the middle of whatever it does, until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NotNil(s.t, s.cmd, "it does not run")
	require.NoError(s.t, s.cmd.Process.Signal(sig))
}

// answers is ready once a GET of path has a status in the 200s.
func (s *Server) answers(path string) func() bool {
	return func() bool {
		resp, err := s.client.Get(s.URL + path)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode/100 == 2
	}
}

// logged is ready once the log of this start has the text.
func (s *Server) logged(text string) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(s.log.String()[s.before:], text)
	}
}

// Get asks the server.
func (s *Server) Get(path string, query url.Values) []byte {
	s.t.Helper()
	return s.body(s.client.Get(s.URL + path + "?" + query.Encode()))
}

// Post sends a form.
func (s *Server) Post(path string, form url.Values) []byte {
	s.t.Helper()
	return s.body(s.client.PostForm(s.URL+path, form))
}

func (s *Server) body(resp *http.Response, err error) []byte {
	s.t.Helper()
	require.NoError(s.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(s.t, errors.Join(err, resp.Body.Close()))
	require.Equal(s.t, 2, resp.StatusCode/100, "%s: %s", resp.Status, body)
	return body
}

// file writes a file into the server's folder.
func (s *Server) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (s *Server) String() string { return fmt.Sprintf("%s at %s", filepath.Base(s.args[0]), s.Addr) }
