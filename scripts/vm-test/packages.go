package main

import (
	"context"
	_ "embed" // packages.txt
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

//go:embed packages.txt
var packagesText string

// packageSeconds is how long one package's tests may take, by the guest's clock.
const packageSeconds = 480

// A tested package is one line of packages.txt.
type tested struct {
	path  string // below the repository's root
	args  []string
	skip  []string // patterns
	quick []string // patterns of what runs with VMQUICK; none: nothing of the package
}

func parsePackages(text string) (all []tested, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case line[0] != ' ' && line[0] != '\t':
			all = append(all, tested{path: f[0], args: binaryFlags(f[1:])})
		case f[0] == "skip" && len(f) > 2 && len(all) > 0:
			last := &all[len(all)-1]
			last.skip = append(last.skip, f[1])
		case f[0] == "quick" && len(f) > 1 && len(all) > 0:
			last := &all[len(all)-1]
			last.quick = append(last.quick, f[1:]...)
		default:
			return nil, fmt.Errorf("parse packages.txt: %q: want, below a package: skip PATTERN REASON, or quick PATTERN", strings.TrimSpace(line))
		}
	}
	return all, nil
}

// binaryFlags turns flags of `go test` into those of a test binary: -run X is -test.run X there.
func binaryFlags(flags []string) (out []string) {
	for _, f := range flags {
		if name := strings.TrimLeft(f, "-"); name != f && !strings.HasPrefix(name, "test.") {
			f = "-test." + name
		}
		out = append(out, f)
	}
	return out
}

// choose picks the packages named; none, or ./..., is all of the list. One that is not in the list has no arguments.
func choose(all []tested, names []string) (chosen []tested) {
	for _, name := range names {
		if name = strings.TrimPrefix(name, "./"); name == "..." {
			return all
		}
		i := slices.IndexFunc(all, func(t tested) bool { return t.path == name })
		if i < 0 {
			chosen = append(chosen, tested{path: name})
			continue
		}
		chosen = append(chosen, all[i])
	}
	if len(names) == 0 {
		return all
	}
	return chosen
}

// quickOnes are the packages of which something runs with VMQUICK, and only that of them.
func quickOnes(all []tested) (quick []tested) {
	for _, t := range all {
		if len(t.quick) > 0 {
			t.args = append(slices.Clone(t.args), "-test.run="+strings.Join(t.quick, "|"))
			quick = append(quick, t)
		}
	}
	return quick
}

// run is how a guest runs the package. Flags given by hand come last: they win.
func (t *tested) run(byHand []string) wire.Run {
	dir := "/src/" + t.path
	args := []string{"-test.v=test2json", fmt.Sprintf("-test.timeout=%ds", packageSeconds)}
	args = append(args, t.args...)
	if len(t.skip) > 0 {
		args = append(args, "-test.skip="+strings.Join(t.skip, "|"))
	}
	return wire.Run{
		Package: t.path, Dir: dir, Binary: dir + "/run.test", Args: append(args, byHand...), Seconds: packageSeconds + 30,
	}
}

// build compiles a package's tests, static, with those that are only for guests (build tag vm). It returns the binary.
func (t *tested) build(ctx context.Context, into string) (string, error) {
	out := filepath.Join(into, strings.ReplaceAll(t.path, "/", ".")+".test")
	if err := goBuild(ctx, "test", "-c", "-tags", "vm", "-trimpath", "-ldflags=-s -w", "-o", out, "./"+t.path); err != nil {
		return "", fmt.Errorf("build tests of %s: %w", t.path, err)
	}
	if _, err := os.Stat(out); err != nil {
		return "", fmt.Errorf("build tests of %s: it has none", t.path)
	}
	return out, nil
}

func goBuild(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
