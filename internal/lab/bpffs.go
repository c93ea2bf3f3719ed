//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountBPF makes a folder with a BPF file system of its own: agents in namespaces of one machine must not share
// their pins. unmount takes it away again, with what is pinned there.
func MountBPF(at string) (unmount func() error, err error) {
	if err := os.Mkdir(at, 0o700); err != nil {
		return nil, fmt.Errorf("mount BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", at, "bpf", 0, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("mount BPF file system at %s: %w", at, err), os.Remove(at))
	}
	return func() error {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
		return os.Remove(at)
	}, nil
}
