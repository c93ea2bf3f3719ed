//go:build linux

package lab

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// stampsOn returns when the kernel stamps packets. It starts to do so from a work queue, some time after
// a socket has asked for it; this sends to itself over lo until a datagram has a stamp. It must run inside
// a namespace whose lo is up.
func stampsOn() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open stamped socket: %w", err)
	}
	defer unix.Close(fd)
	// SO_TIMESTAMPING, unlike SO_TIMESTAMPNS, leaves a missing stamp missing.
	flags := unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, flags),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	); err != nil {
		return fmt.Errorf("set up stamped socket: %w", err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("name stamped socket: %w", err)
	}
	buf, oob := make([]byte, 1), make([]byte, 128)
	return settle("kernel stamps", func() (bool, error) {
		if err := unix.Sendto(fd, buf, 0, self); err != nil {
			return false, fmt.Errorf("send to self: %w", err)
		}
		_, n, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("receive from self: %w", err)
		}
		return n > 0, nil
	})
}
