//go:build linux

package loader

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/pin"
)

// Owner is whose program it is that stands in our way: what the kernel knows of it, so that somebody can be asked.
type Owner struct {
	Program uint32
	Name    string
	Link    uint32   // 0 if no link holds it: it was attached through netlink
	Holders []string // processes that have it open, as "dhcpd (pid 812)"
	Pins    []string // files under which it or its link is pinned
}

func (o Owner) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "program %d", o.Program)
	if o.Name != "" {
		fmt.Fprintf(&b, " %q", o.Name)
	}
	if o.Link != 0 {
		fmt.Fprintf(&b, ", link %d", o.Link)
	} else {
		b.WriteString(", without a link")
	}
	switch {
	case len(o.Holders) > 0:
		fmt.Fprintf(&b, ", held by %s", strings.Join(o.Holders, ", "))
	case len(o.Pins) == 0:
		b.WriteString(", held by no process")
	}
	if len(o.Pins) > 0 {
		fmt.Fprintf(&b, ", pinned at %s", strings.Join(o.Pins, ", "))
	}
	return b.String()
}

// What findOwner names at most: it is for a sentence.
const (
	maxHolders = 4
	maxPins    = 4
	maxPinWalk = 10000
)

// findOwner says of a program what can be found out. Each part may stay empty for want of a capability.
func findOwner(id ebpf.ProgramID) Owner {
	o := Owner{Program: uint32(id)}
	if p, err := ebpf.NewProgramFromID(id); err == nil {
		if info, err := p.Info(); err == nil {
			o.Name = info.Name
		}
		_ = p.Close()
	}
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		if info, err := it.Link.Info(); err == nil && info.Program == id {
			o.Link = uint32(info.ID)
		}
	}
	o.Holders = holders(id)
	o.Pins = pinsOf(id)
	return o
}

// holders are the processes with a descriptor of the program or of a link to it.
func holders(id ebpf.ProgramID) []string {
	fds, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil {
		return nil
	}
	var found []string
	for _, dir := range fds {
		pid := filepath.Base(filepath.Dir(dir))
		if len(found) < maxHolders && holds(pid, id) {
			comm, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
			found = append(found, fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid))
		}
	}
	return found
}

func holds(pid string, id ebpf.ProgramID) bool {
	dir := filepath.Join("/proc", pid, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // ended, or not ours to see
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || !strings.Contains(to, "bpf") {
			continue // cheaper than to read what it says of itself
		}
		info, err := os.ReadFile(filepath.Join("/proc", pid, "fdinfo", e.Name()))
		if err == nil && fdinfoProgram(string(info)) == id {
			return true
		}
	}
	return false
}

// fdinfoProgram reads the program of a descriptor's fdinfo, as programs and links have it.
func fdinfoProgram(info string) ebpf.ProgramID {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "prog_id:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
			return ebpf.ProgramID(n)
		}
	}
	return 0
}

var errEnough = errors.New("enough")

// pinsOf are the files of any bpffs under which the program or a link to it is pinned.
func pinsOf(id ebpf.ProgramID) []string {
	var found []string
	for _, root := range bpffsMounts() {
		seen := 0
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if seen++; seen > maxPinWalk || len(found) == maxPins {
				return errEnough
			}
			if err == nil && !d.IsDir() && pinProgram(path) == id && !slices.Contains(found, path) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// pinProgram is the program of a pinned program or link, or 0.
func pinProgram(path string) ebpf.ProgramID {
	obj, err := pin.Load(path, nil)
	if err != nil {
		return 0
	}
	defer obj.Close()
	switch obj := obj.(type) {
	case *ebpf.Program:
		return programID(obj)
	case link.Link:
		if info, err := obj.Info(); err == nil {
			return info.Program
		}
	}
	return 0
}

func bpffsMounts() []string {
	f, err := os.Open("/proc/thread-self/mounts")
	if err != nil {
		return nil
	}
	defer f.Close()
	var roots []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 2 && fields[2] == "bpf" && !slices.Contains(roots, fields[1]) {
			roots = append(roots, fields[1])
		}
	}
	return roots
}
