//go:build linux

// Command demo builds a network of three hosts out of namespaces, runs an agent
// in each, breaks the network towards one of them, and checks that the agents
// find out: where, in which direction, and as many packets as the kernel dropped.
//
// DEMO_SECONDS is how long it takes (20), DEMO=forever repeats it until Ctrl-C.
// Exit status 0: found; 1: not found; 2: it could not be set up; 130: interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Exit statuses.
const (
	exitFound       = 0
	exitNotFound    = 1
	exitSetup       = 2
	exitInterrupted = 130
)

func main() {
	// SIGPIPE too: `make demo | head` must not leave agents behind.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	go endWithGoRun(ctx, stop)
	o, err := optionsFromEnv()
	if err == nil {
		err = run(ctx, o, newScreen(os.Stdout))
	}
	os.Exit(status(err, os.Stderr))
}

// options say what the demo does.
type options struct {
	agent    string        // path of llama-agent
	length   time.Duration // of one round: half of it quiet
	forever  bool          // rounds until Ctrl-C
	loopback bool          // one agent, no namespaces
}

func optionsFromEnv() (options, error) {
	o := options{agent: "bin/llama-agent", length: 20 * time.Second, loopback: os.Geteuid() != 0}
	o.forever = os.Getenv("DEMO") == "forever"
	if s := os.Getenv("DEMO_SECONDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 86400 {
			return o, fmt.Errorf("DEMO_SECONDS=%q: want a number of seconds from 1 to 86400", s)
		}
		o.length = time.Duration(n) * time.Second
	}
	if _, err := os.Stat(o.agent); err != nil {
		return o, fmt.Errorf("%w (make demo builds it; run from the repository's root)", err)
	}
	return o, nil
}

var (
	errNotFound    = errors.New("not found") // the reason has been printed
	errInterrupted = errors.New("interrupted")
)

func status(err error, stderr io.Writer) int {
	if err == nil {
		return exitFound
	}
	fmt.Fprintln(stderr, "demo:", err)
	switch {
	case errors.Is(err, errNotFound):
		return exitNotFound
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	return exitSetup
}

// endWithGoRun ends the demo when its parent is `go run` and dies of a signal
// that it does not pass on (SIGTERM).
func endWithGoRun(ctx context.Context, end func()) {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || string(name) != "go\n" {
		return
	}
	for tick := time.Tick(200 * time.Millisecond); ctx.Err() == nil; {
		<-tick
		if os.Getppid() != parent {
			end()
		}
	}
}
