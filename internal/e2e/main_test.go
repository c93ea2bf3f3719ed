//go:build linux

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// program is the path of the program under test, built once. pins is a BPF file
// system of these tests' own: agents on one machine must not share a pin folder.
var program, pins string

var lastPin atomic.Int64

// newPin is a folder for the pins of one agent.
func newPin() string { return filepath.Join(pins, fmt.Sprint("agent", lastPin.Add(1))) }

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of these tests wait; those that measure time are not parallel.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "llama-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "llama-agent")
	pins = filepath.Join(dir, "bpf")
	if unmount, err := lab.MountBPF(pins); err == nil { // or nothing here runs for want of root
		defer func() { _ = unmount() }()
	}
	build := exec.Command("go", "build", "-o", program, "github.com/llama-agent/llama-agent/cmd/llama-agent")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build llama-agent: %v\n%s", err, out)
		return 2
	}
	return m.Run()
}
