package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// listsKeep is how long package lists are good for.
const listsKeep = 24 * time.Hour

// apt is a private apt: its sources, lists and cache are our own, so that nothing of the machine's changes and no right
// is needed. Packages are verified as apt always does.
type apt struct {
	dir string
	log io.Writer
}

func (a *apt) options() []string {
	at := func(name string) string { return filepath.Join(a.dir, name) }
	return []string{
		"-o", "Dir::Etc::sourcelist=" + at("sources.list"), "-o", "Dir::Etc::sourceparts=-", "-o", "Dir::Etc::preferences=-",
		"-o", "Dir::State::lists=" + at("lists"), "-o", "Dir::State::status=" + at("status"), "-o", "Dir::Cache=" + at("cache"),
		"-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "-q",
	}
}

func (a *apt) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, append(a.options(), args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// machineMirrors asks the machine's own apt.
func machineMirrors(ctx context.Context) (mirrors, error) {
	if uri := os.Getenv("VM_MIRROR"); uri != "" {
		return mirrors{main: uri, security: strings.TrimRight(uri, "/") + "-security"}, nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages").Output()
	if err != nil {
		return mirrors{}, fmt.Errorf("ask apt for its mirrors: %w", err)
	}
	return findMirrors(string(out))
}

// update brings the lists up to date if they are old, or anyway. Where it fails, old lists will do: what is missing then
// shows when a kernel cannot be found.
func (a *apt) update(ctx context.Context, anyway bool) error {
	stamp := filepath.Join(a.dir, "updated")
	if s, err := os.Stat(stamp); err == nil && !anyway && time.Since(s.ModTime()) < listsKeep {
		return nil
	}
	if err := checkKeyring(); err != nil {
		return err
	}
	m, err := machineMirrors(ctx)
	if err != nil {
		return err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return fmt.Errorf("make apt's folders: %w", err)
		}
	}
	for name, text := range map[string]string{"sources.list": m.sourcesList(), "status": ""} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write apt's files: %w", err)
		}
	}
	fmt.Fprintln(a.log, "vm-test: package lists of", strings.Join(suites, ", "))
	out, err := a.command(ctx, "apt-get", "update").CombinedOutput()
	if err != nil {
		fmt.Fprintf(a.log, "vm-test: apt-get update: %v\n%s", err, complaints(out))
		return ctx.Err()
	}
	return os.WriteFile(stamp, nil, 0o644)
}

// complaints are the lines of apt's output that say what is wrong.
func complaints(out []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(out) {
		for _, p := range []string{"E:", "W:", "Err:"} {
			if bytes.HasPrefix(line, []byte(p)) {
				b.Write(line)
			}
		}
	}
	return b.Bytes()
}

// kernels lists all that can be had.
func (a *apt) kernels(ctx context.Context) ([]kernel, error) {
	out, err := a.command(ctx, "apt-cache", "pkgnames", "linux-").Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var names []string
	for name := range strings.FieldsSeq(string(out)) {
		if kernelPackage.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("list packages: no kernels in the lists of %s", strings.Join(suites, ", "))
	}
	// Some names are only known as a dependency: apt-cache says so, and shows the others.
	out, err = a.command(ctx, "apt-cache", append([]string{"show"}, names...)...).Output()
	if err != nil && len(out) == 0 {
		return nil, fmt.Errorf("show packages: %w", err)
	}
	return kernels(parseStanzas(out)), nil
}

// download puts the kernel's packages into a folder.
func (a *apt) download(ctx context.Context, k *kernel, into string) error {
	args := []string{"download"}
	for _, p := range k.packages {
		args = append(args, p+"="+k.version)
	}
	cmd := a.command(ctx, "apt-get", args...)
	cmd.Dir = into
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("download kernel %s: %w\n%s", k.release, err, complaints(out))
	}
	return nil
}
