// Command vm-test runs the project's Go tests on Debian's kernels, each in an emulated machine: `make test-vm`.
// It is steered by the environment, see docs/vm-test.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// defaultLines are the oldest kernel that is supported, Debian's stable ones, and the newest 6.x and 7.x there are.
const defaultLines = "5.10 6.1 6.12 6 7"

// logFolder keeps what guests write; it is below bin/, which git ignores.
const logFolder = "bin/vm-test"

// guestsAtOnce: each takes a core, and a gigabyte.
const guestsAtOnce = 2

var errFailed = errors.New("not every kernel passed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm-test:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, log io.Writer) error {
	lines := fields(os.Getenv("KERNEL"))
	if len(lines) == 0 {
		lines = fields(defaultLines)
	}
	timeout, err := time.ParseDuration(cmp.Or(os.Getenv("VMTIMEOUT"), "30m"))
	if err != nil {
		return fmt.Errorf("read VMTIMEOUT: %w", err)
	}
	cpus, err := strconv.Atoi(cmp.Or(os.Getenv("VMCPUS"), "0"))
	if err != nil {
		return fmt.Errorf("read VMCPUS: %w", err)
	}
	tries, err := strconv.Atoi(cmp.Or(os.Getenv("VMTRIES"), "1"))
	if err != nil {
		return fmt.Errorf("read VMTRIES: %w", err)
	}
	packages, err := chosenPackages(log)
	if err != nil {
		return err
	}
	// Programs of root stand where others do not look.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return fmt.Errorf("set PATH: %w", err)
	}
	if err := checkPrograms("go", "apt-get", "dpkg-deb", "depmod", "xz", "ldd", "busybox", "qemu-system-x86_64"); err != nil {
		return err
	}
	if err := os.MkdirAll(logFolder, 0o755); err != nil {
		return fmt.Errorf("make log folder: %w", err)
	}
	unlock, err := lock(filepath.Join(logFolder, "lock"), false)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := openStore(log)
	if err != nil {
		return err
	}
	found, err := s.resolve(ctx, lines)
	if err != nil {
		return err
	}
	b, err := makeBase(ctx, packages, binaryFlags(strings.Fields(os.Getenv("VMTESTFLAGS"))))
	if err != nil {
		return err
	}
	if len(b.lacking) > 0 {
		fmt.Fprintln(log, "vm-test: programs that are not on this machine, nor in guests:", strings.Join(b.lacking, ", "))
	}
	return runAll(ctx, out, s, b, found, tries, guest{
		logs: logFolder, timeout: timeout, cpus: cpus, noSkip: os.Getenv("LLAMA_TEST_NOSKIP") != "",
	})
}

// runAll runs a guest a kernel, again as long as it fails and there are tries left, and reports each when it ends. A kernel
// that fails does not keep the others from running.
func runAll(ctx context.Context, out io.Writer, s *store, b *base, found []kernel, tries int, like guest) error {
	var mu sync.Mutex // protects out
	var failed atomic.Int32
	var group errgroup.Group
	group.SetLimit(guestsAtOnce)
	for _, k := range found {
		group.Go(func() error {
			g := like
			g.kernel = k
			for range tries {
				v, err := g.fetchAndRun(ctx, s, b)
				mu.Lock()
				if err != nil {
					fmt.Fprintf(out, "FAIL %-34s %v\n", k.release, err)
				} else {
					report(out, &g, v)
				}
				mu.Unlock()
				if ctx.Err() != nil || err == nil && v.ok() {
					return ctx.Err()
				}
			}
			failed.Add(1)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%w: %d of %d failed", errFailed, n, len(found))
	}
	return nil
}

// chosenPackages are those of packages.txt, or of PKGS, that exist.
func chosenPackages(log io.Writer) (chosen []tested, err error) {
	all, err := parsePackages(packagesText)
	if err != nil {
		return nil, err
	}
	wanted := choose(all, fields(os.Getenv("PKGS")))
	if os.Getenv("VMQUICK") != "" {
		wanted = quickOnes(wanted)
	}
	for _, p := range wanted {
		if tests, err := filepath.Glob(p.path + "/*_test.go"); err != nil || len(tests) == 0 {
			fmt.Fprintf(log, "vm-test: %s has no tests (yet): left out\n", p.path)
			continue
		}
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, errors.New("choose packages: none has tests")
	}
	return chosen, nil
}

func checkPrograms(names ...string) error {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("find %s: %w (scripts/setup.sh vm)", name, err)
		}
	}
	return nil
}

func fields(list string) []string { return strings.Fields(strings.ReplaceAll(list, ",", " ")) }
