package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

// accounts are those that programs look up.
const accounts = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"

// guestEnv is what tests see. LLAMA_VM says that the machine is theirs alone: they may set its clock. What a guest is known
// to have is named, so that its tests fail there rather than leave it out: kinds of devices and classifiers, whose modules
// are in modules.txt, and the NICs of the emulator.
var guestEnv = []string{
	"LLAMA_TEST_KINDS=bond,team,vlan,vrf,dummy,ipvlan,u32", "LLAMA_TEST_NICS=eth0,eth1",
	"LLAMA_VM=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp", "TERM=dumb", "LC_ALL=C", "USER=root",
}

// A base is what every guest's initramfs holds: init, programs, tests. It is the first of two archives; the kernel unpacks
// one after the other.
type base struct {
	archive []byte
	runs    []wire.Run
	lacking []string // programs that this machine has not
}

// makeBase builds init and the tests of the packages that exist.
func makeBase(ctx context.Context, packages []tested, byHand []string) (b *base, err error) {
	tmp, err := os.MkdirTemp("", "llama-vm-test-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	var out bytes.Buffer
	c := newCPIO(&out)
	c.device("/dev/console", 5, 1) // or init has no standard output
	for _, d := range []string{"/proc", "/sys", "/run", "/tmp", "/root"} {
		c.dir(d)
	}
	c.file("/etc/passwd", []byte(accounts))
	c.file("/etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"))
	c.file("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost\n"))
	initBinary := filepath.Join(tmp, "init")
	if err := goBuild(ctx, "build", "-ldflags=-s -w", "-o", initBinary, "./scripts/vm-test/init"); err != nil {
		return nil, fmt.Errorf("build init: %w", err)
	}
	if err := addFile(c, initBinary, "/init"); err != nil {
		return nil, err
	}
	b = &base{}
	if b.lacking, err = addTools(c); err != nil {
		return nil, err
	}
	for i := range packages {
		p := &packages[i]
		binary, err := p.build(ctx, tmp)
		if err != nil {
			return nil, err
		}
		run := p.run(byHand)
		if err := errors.Join(addFile(c, binary, run.Binary), addTree(c, p.path, "testdata", run.Dir)); err != nil {
			return nil, err
		}
		b.runs = append(b.runs, run)
	}
	if err := c.close(); err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	b.archive = out.Bytes()
	return b, nil
}

// addTree adds a folder of a package, if it has it.
func addTree(c *cpio, pkg, folder, to string) error {
	err := filepath.WalkDir(filepath.Join(pkg, folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		below, err := filepath.Rel(pkg, path)
		if err != nil {
			return err
		}
		return addFile(c, path, filepath.Join(to, below))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// image writes the initramfs of one kernel, and says which modules it lacks. It is not compressed: unpacking would cost
// the emulated processor more than reading.
func (b *base) image(ctx context.Context, file, dir, release string) (lacking []string, err error) {
	from := filepath.Join(dir, "lib/modules", release)
	tree, err := readModules(from)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(b.archive); err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	c := newCPIO(f)
	plan := wire.Plan{Env: guestEnv, Runs: b.runs}
	load, lacking := tree.order(parseWanted(modulesText))
	for _, m := range load {
		code, err := unpackModule(ctx, filepath.Join(from, m.file))
		if err != nil {
			return nil, err
		}
		path := "/lib/modules/" + m.name + ".ko"
		c.file(path, code)
		plan.Modules = append(plan.Modules, wire.Module{Name: m.name, Path: path, Params: m.params})
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	c.file(wire.PlanPath, text)
	if err := c.close(); err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	return lacking, nil
}

// unpackModule reads a module; from 6.12 on they are compressed.
func unpackModule(ctx context.Context, file string) ([]byte, error) {
	program := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(file)]
	if program == "" {
		return os.ReadFile(file)
	}
	out, err := exec.CommandContext(ctx, program, "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack module %s with %s: %w", strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), program, err)
	}
	return out, nil
}
