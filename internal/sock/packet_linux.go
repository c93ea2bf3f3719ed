package sock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenPacket returns a socket that sends whole frames by an interface, and receives
// nothing. What it sends passes the interface's queue and its programs at TC egress
// (no PACKET_QDISC_BYPASS), but not the host's firewall.
func OpenPacket(ifIndex, sendBuffer int) (fd int, err error) {
	// Protocol 0: no frame is for it, not even before it is bound.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifIndex}); err != nil {
		return -1, errors.Join(fmt.Errorf("bind packet socket to interface %d: %w", ifIndex, err), unix.Close(fd))
	}
	return fd, nil
}
