//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func linkUp(nl *netlink.Handle, name string) error {
	link, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func linkDown(nl *netlink.Handle, name string) error {
	link, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := nl.LinkSetDown(link); err != nil {
		return fmt.Errorf("set %s down: %w", name, err)
	}
	return nil
}

// What the kernel finishes from a work queue takes about a millisecond.
const (
	settleWait = 5 * time.Second
	settlePoll = 200 * time.Microsecond
)

// settle polls until done.
func settle(what string, done func() (bool, error)) error {
	for end := time.Now().Add(settleWait); ; time.Sleep(settlePoll) {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("wait for %s: not there after %s", what, settleWait)
		}
	}
}

// waitUp returns when the link is operational. The end of a veth that comes up first is told of its
// carrier later; until then it drops what it sends.
func waitUp(nl *netlink.Handle, name string) error {
	return settle(name, func() (bool, error) {
		link, err := nl.LinkByName(name)
		if err != nil {
			return false, fmt.Errorf("find %s: %w", name, err)
		}
		return link.Attrs().OperState == netlink.OperUp, nil
	})
}

// waitLocal returns when the namespace takes the address for its own: the route for an IPv6 address is
// inserted later than the address, even without duplicate address detection.
func waitLocal(nl *netlink.Handle, addr netip.Addr) error {
	return settle(addr.String(), func() (bool, error) {
		routes, err := nl.RouteGet(addr.AsSlice())
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look up %s: %w", addr, err)
		}
		return len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL, nil
	})
}

// txChecksumOff is `ethtool -K NAME tx off`: without it packets cross a veth with a checksum that is
// only begun (CHECKSUM_PARTIAL), which no wire ever carries and XDP takes for a real one.
func txChecksumOff(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open ethtool socket: %w", err)
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{unix.ETHTOOL_STXCSUM, 0}
	var req struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], name)
	req.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return fmt.Errorf("switch checksum offload of %s off: %w", name, errno)
	}
	return nil
}

// commonSysctls hold in every namespace. The ICMP masks are empty, so that every error that is due is
// sent: a test counts them.
func commonSysctls(o Options) [][2]string {
	s := [][2]string{
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/icmp_ratelimit", "0"},
		{"net/ipv4/icmp_ratemask", "0"},
	}
	if o.IPv4Only {
		return append(s, [2]string{"?net/ipv6/conf/all/disable_ipv6", "1"}, [2]string{"?net/ipv6/conf/default/disable_ipv6", "1"})
	}
	return append(s, [][2]string{
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/default/dad_transmits", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv6/conf/default/router_solicitations", "0"},
		{"net/ipv6/icmp/ratelimit", "0"},
		{"net/ipv6/icmp/ratemask", ""},
	}...)
}

// forwardSysctls make a namespace a router.
func forwardSysctls(o Options) [][2]string {
	s := [][2]string{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/all/send_redirects", "0"},
		{"net/ipv4/conf/default/send_redirects", "0"},
	}
	if !o.IPv4Only {
		s = append(s, [2]string{"net/ipv6/conf/all/forwarding", "1"}, [2]string{"net/ipv6/conf/default/forwarding", "1"})
	}
	return s
}
