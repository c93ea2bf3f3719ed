//go:build linux

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// pinFolder is where links stay when the agent does not: what is pinned goes on without it, and is found by the
// next one. The empty folder pins nothing.
//
//	link_<interface>_<step>   a link: native, tc, generic
//	qdisc_<interface>         a program: it says that the clsact qdisc there is ours
//	llama_<map>               a map, of the object's
type pinFolder string

const (
	linkPrefix  = "link_"
	qdiscPrefix = "qdisc_"
	mapPrefix   = "llama_"
)

// linkName is the file of a link. A bpffs takes no dots, which VLAN devices like to have in their names; no name of
// an interface has a colon.
func linkName(ifname string, s Step) string {
	return linkPrefix + pinSafe(ifname) + "_" + s.String()
}

func pinSafe(ifname string) string { return strings.ReplaceAll(ifname, ".", ":") }

func (f pinFolder) path(name string) string { return filepath.Join(string(f), name) }

// prepare makes the folder, on a bpffs or not at all. It mounts nothing: on what
// file system that is, is the host's affair.
func (f pinFolder) prepare() error {
	if f == "" {
		return nil
	}
	at := string(f)
	var st unix.Statfs_t
	err := unix.Statfs(at, &st)
	if errors.Is(err, os.ErrNotExist) {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &st)
	}
	switch {
	case err != nil:
		return fmt.Errorf("look at pin folder %s: %w: %w", at, err, ErrPinFolder)
	case st.Type != unix.BPF_FS_MAGIC:
		return fmt.Errorf("pin folder %s is on no bpffs (mount -t bpf bpf /sys/fs/bpf, and use a folder there): %w", f, ErrPinFolder)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("pin folder %s is on a bpffs that is mounted read-only (mount -o remount,rw, or use a folder on another): %w", f, ErrPinFolder)
	}
	if err := os.Mkdir(string(f), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make pin folder: %w: %w", err, ErrPinFolder)
	}
	return nil
}

// hold keeps a second agent out of the folder for as long as the file is open: it would adopt our links, and each
// would undo what the other does.
func (f pinFolder) hold() (*os.File, error) {
	for {
		if err := f.prepare(); err != nil {
			return nil, err
		}
		dir, err := f.lock()
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // who held it has just removed it
		case err != nil:
			return nil, err
		}
		return dir, nil
	}
}

// lock locks the folder, or says that there is none or that another agent has it.
func (f pinFolder) lock() (*os.File, error) {
	dir, err := os.Open(string(f))
	if err != nil {
		return nil, fmt.Errorf("open pin folder: %w: %w", err, ErrPinFolder)
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrPinsHeld
	}
	if err == nil {
		err = isAt(dir, string(f))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock pin folder %s: %w", f, err), dir.Close())
	}
	return dir, nil
}

// isAt is os.ErrNotExist if the open file is no longer the one of that name.
func isAt(file *os.File, path string) error {
	have, err := file.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err == nil && !os.SameFile(have, now) {
		err = os.ErrNotExist
	}
	return err
}

// names lists the files of the folder that begin with the prefix.
func (f pinFolder) names(prefix string) ([]string, error) {
	entries, err := os.ReadDir(string(f))
	if errors.Is(err, os.ErrNotExist) || f == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pin folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// links opens every link that is pinned and still attached to an interface of this namespace, and removes the pins
// of all others: with its last pin a link goes, and with it whatever it held.
func (f pinFolder) links() ([]*linkHook, error) {
	names, err := f.names(linkPrefix)
	if err != nil {
		return nil, err
	}
	var found []*linkHook
	for _, name := range names {
		h, err := f.open(name)
		if h != nil {
			found = append(found, h)
		}
		if err != nil {
			return nil, errors.Join(err, leaveAll(found))
		}
	}
	if err := f.rename(found); err != nil {
		return nil, errors.Join(err, leaveAll(found))
	}
	return found, nil
}

// open opens a pinned link, or removes the pin of one that is no longer where it was and returns nil.
func (f pinFolder) open(name string) (*linkHook, error) {
	l, err := link.LoadPinnedLink(f.path(name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // gone since
	}
	if err != nil {
		return nil, fmt.Errorf("open pin %s: %w", name, err)
	}
	h, err := hookOf(l)
	switch {
	case errors.Is(err, ErrLost):
		if err := errors.Join(l.Unpin(), l.Close()); err != nil {
			return nil, fmt.Errorf("remove stale pin %s: %w", name, err)
		}
		return nil, nil
	case err != nil:
		return nil, errors.Join(fmt.Errorf("look at pin %s: %w", name, err), l.Close())
	}
	h.pin = name
	return h, nil
}

func leaveAll(hooks []*linkHook) error {
	var errs []error
	for _, h := range hooks {
		errs = append(errs, h.leave())
	}
	return errors.Join(errs...)
}

// rename gives each pin the name that its interface has by now. Two interfaces may have exchanged theirs, so all
// that are wrong step aside first.
func (f pinFolder) rename(hooks []*linkHook) error {
	for _, interim := range []bool{true, false} {
		for i, h := range hooks {
			want := linkName(h.ifname, h.step)
			if h.pin == want {
				continue
			}
			if interim {
				want = linkPrefix + strconv.Itoa(i) + "_moves"
			}
			if err := h.link.Pin(f.path(want)); err != nil {
				return fmt.Errorf("rename pin %s to %s: %w", h.pin, want, err)
			}
			h.pin = want
		}
	}
	return nil
}

// adopt returns our links on the interface, by step. Of two for one step the second is taken off.
func (f pinFolder) adopt(ifc Interface) (map[Step]hook, error) {
	links, err := f.links()
	if err != nil {
		return nil, err
	}
	ours := make(map[Step]hook)
	var errs []error
	for _, h := range links {
		switch {
		case h.ifindex != ifc.Index:
			errs = append(errs, h.leave())
		case ours[h.step] != nil:
			errs = append(errs, h.detach())
		default:
			ours[h.step] = h
		}
	}
	return ours, errors.Join(errs...)
}

// pinProgram pins a handle of its own: pinning the program itself would move the pin that it may have elsewhere.
func (f pinFolder) pinProgram(name string, p *ebpf.Program) error {
	if f == "" {
		return nil
	}
	c, err := p.Clone()
	if err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	defer c.Close()
	if err := f.remove(name); err != nil {
		return err
	}
	if err := c.Pin(f.path(name)); err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	return nil
}

// pinnedProgram returns the id of a pinned program, or 0.
func (f pinFolder) pinnedProgram(name string) ebpf.ProgramID {
	if f == "" {
		return 0
	}
	p, err := ebpf.LoadPinnedProgram(f.path(name), nil)
	if err != nil {
		return 0
	}
	defer p.Close()
	return programID(p)
}

func (f pinFolder) remove(name string) error {
	if f == "" {
		return nil
	}
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	return nil
}

// programID returns the program's id, or 0.
func programID(p *ebpf.Program) ebpf.ProgramID {
	info, err := p.Info()
	if err != nil {
		return 0
	}
	id, _ := info.ID()
	return id
}
