//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// namespace is a named network namespace and a route socket inside it.
type namespace struct {
	name string
	path string
	fd   netns.NsHandle
	nl   *netlink.Handle
}

func newNamespace(name string) (_ *namespace, err error) {
	n := &namespace{name: name, path: filepath.Join(netnsDir, name), fd: netns.None()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("create namespace %s: %w", name, err), n.close())
		}
	}()
	if err := shareNetnsDir(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(n.path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return unix.Mount("/proc/thread-self/ns/net", n.path, "", unix.MS_BIND, "")
	})
	if err != nil {
		return nil, err
	}
	if n.fd, err = netns.GetFromPath(n.path); err != nil {
		return nil, err
	}
	if n.nl, err = netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	return n, nil
}

// shareNetnsDir makes /run/netns as iproute2 does: a mount of its own with shared propagation, so that
// a removal here is a removal in every mount namespace. The lock keeps two processes from stacking mounts.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", netnsDir, err)
	}
	err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", netnsDir, err)
	}
	return unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// onThread runs fn on the caller's goroutine, its thread locked, and puts the thread's namespace back
// afterwards, also when fn panics or ends the goroutine (t.FailNow). A thread that cannot be put back
// stays locked, so that it dies with the goroutine and never serves another.
func onThread(fn func() error) (err error) {
	runtime.LockOSThread()
	before, err := netns.GetFromPath("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer func() {
		back := netns.Set(before)
		if back == nil {
			runtime.UnlockOSThread()
		}
		err = errors.Join(err, back, before.Close())
	}()
	return fn()
}

func (n *namespace) do(fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.fd); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.name, err)
		}
		return fn()
	})
}

// sysctl writes values in the namespace: /proc/sys/net belongs to the namespace of the thread that opens it.
// A value whose file this kernel does not have is skipped if its name starts with "?".
func (n *namespace) sysctl(values [][2]string) error {
	return n.do(func() error {
		for _, v := range values {
			name, optional := v[0], v[0][0] == '?'
			if optional {
				name = name[1:]
			}
			err := os.WriteFile("/proc/sys/"+name, []byte(v[1]+"\n"), 0)
			if optional && errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("set sysctl %s to %q: %w", name, v[1], err)
			}
		}
		return nil
	})
}

func (n *namespace) close() error {
	var errs []error
	if n.nl != nil {
		n.nl.Close()
		n.nl = nil
	}
	if n.fd.IsOpen() {
		errs = append(errs, killInside(n.path), n.fd.Close())
	}
	return errors.Join(append(errs, removeNamespace(n.path))...)
}

// removeNamespace takes the name away; the kernel frees the namespace when nothing is in it any more.
func removeNamespace(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// killInside ends every other process whose main thread is in the namespace: what a test started there
// and forgot. FindProcess holds a pidfd, so a pid that changes hands meanwhile is not hit.
func killInside(path string) error {
	var want, have unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return fmt.Errorf("stat namespace: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		ns := fmt.Sprintf("/proc/%d/ns/net", pid)
		if unix.Stat(ns, &have) != nil || have.Ino != want.Ino || have.Dev != want.Dev {
			continue
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		if unix.Stat(ns, &have) == nil && have.Ino == want.Ino {
			_ = p.Kill() // gone already is as good
		}
		_ = p.Release()
	}
	return nil
}
