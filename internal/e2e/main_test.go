//go:build linux

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the path of the program under test, built once.
var program string

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
	build := exec.Command("go", "build", "-o", program, "github.com/llama-agent/llama-agent/cmd/llama-agent")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build llama-agent: %v\n%s", err, out)
		return 2
	}
	return m.Run()
}
