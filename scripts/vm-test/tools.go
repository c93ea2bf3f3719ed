package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tools are the programs of this machine that tests call, or that tell an engineer what a guest looks like. One that is
// not here is not there either: tests then skip by its name, and skips are printed.
var tools = []string{"ip", "tc", "bridge", "ss", "ethtool", "nft", "bpftool", "nsenter"}

// addTools puts the programs and their shared libraries into an archive; busybox stands in for all else.
func addTools(c *cpio) (lacking []string, err error) {
	libs := map[string]bool{}
	for _, name := range tools {
		path, err := exec.LookPath(name)
		if err != nil {
			lacking = append(lacking, name)
			continue
		}
		if err := addProgram(c, path, "/usr/bin/"+name, libs); err != nil {
			return nil, err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("find busybox: %w (scripts/setup.sh vm)", err)
	}
	if err := addProgram(c, busybox, "/bin/busybox", libs); err != nil {
		return nil, err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list busybox's programs: %w", err)
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" && (!slices.Contains(tools, name) || slices.Contains(lacking, name)) {
			c.symlink("/bin/"+name, "/bin/busybox")
		}
	}
	return lacking, nil
}

func addProgram(c *cpio, path, as string, libs map[string]bool) error {
	if err := addFile(c, path, as); err != nil {
		return err
	}
	cmd := exec.Command("ldd", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, _ := cmd.CombinedOutput() // fails on a static one
	if strings.Contains(string(out), "not found") {
		return fmt.Errorf("copy %s: a shared library is missing:\n%s", path, out)
	}
	for _, lib := range parseLdd(string(out)) {
		if libs[lib] {
			continue
		}
		libs[lib] = true
		if err := addFile(c, lib, lib); err != nil {
			return err
		}
	}
	return nil
}

// parseLdd returns the files: "name => /path (0x…)" and, of the loader itself, "/path (0x…)".
func parseLdd(out string) (files []string) {
	for line := range strings.Lines(out) {
		if _, after, ok := strings.Cut(line, "=>"); ok {
			line = after
		}
		if f := strings.Fields(line); len(f) == 2 && filepath.IsAbs(f[0]) && strings.HasPrefix(f[1], "(0x") {
			files = append(files, f[0])
		}
	}
	return files
}

func addFile(c *cpio, path, as string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("copy into the guest: %w", err)
	}
	c.file(as, b)
	return nil
}
