package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Options says what a socket is for.
type Options struct {
	Bind         netip.AddrPort // its family decides the socket's; IPv6 sockets are IPv6 only
	Device       string         // SO_BINDTODEVICE: an interface or a VRF; "" for any
	ReusePort    bool           // SO_REUSEPORT: several sockets share the port, flows are hashed over them
	RecvBuffer   int            // octets; beyond net.core.rmem_max where CAP_NET_ADMIN allows
	SendBuffer   int            // octets, likewise
	TTL          uint8          // TTL or hop limit of what is sent without one of its own; 0: the kernel's
	TxStamps     bool           // software transmit stamps, with the packet, in the error queue
	RecvErr      bool           // ICMP errors and qdisc drops are reported (IP_RECVERR)
	DontFragment bool           // DF set, path MTU not looked up: sizes leave as they are asked for
	LocalAddr    bool           // the address and interface that a datagram came in by are reported
}

// Open returns a bound UDP socket that reports, for each datagram, the kernel's
// receive stamp, TTL or hop limit, and TOS or traffic class.
func Open(o Options) (fd int, err error) {
	v6 := o.Bind.Addr().Is6()
	domain := unix.AF_INET
	if v6 {
		domain = unix.AF_INET6
	}
	fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("open udp socket: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
			fd = -1
		}
	}()
	for _, s := range o.settings(v6) {
		if err = unix.SetsockoptInt(fd, s.level, s.name, s.value); err != nil {
			return fd, fmt.Errorf("set socket option %s: %w", s.label, err)
		}
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.RecvBuffer)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer)
	if o.Device != "" {
		if err = unix.BindToDevice(fd, o.Device); err != nil {
			return fd, fmt.Errorf("bind to device %q: %w", o.Device, err)
		}
	}
	if err = unix.Bind(fd, bindAddr(o.Bind)); err != nil {
		return fd, fmt.Errorf("bind udp %s: %w", o.Bind, os.NewSyscallError("bind", err))
	}
	return fd, nil
}

type setting struct {
	label              string
	level, name, value int
}

func (o *Options) settings(v6 bool) []setting {
	stamps := unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE
	if o.TxStamps {
		// No OPT_TSONLY and no OPT_ID: the stamp comes back with the packet itself,
		// which says whose it is even after a send that failed (OPT_ID counts those
		// on some kernels and not on others).
		stamps |= unix.SOF_TIMESTAMPING_TX_SOFTWARE
	}
	s := []setting{{"SO_TIMESTAMPING", unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps}}
	if o.ReusePort {
		s = append(s, setting{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if v6 {
		s = append(s,
			setting{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			setting{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			setting{"IPV6_RECVTCLASS", unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1})
	} else {
		s = append(s,
			setting{"IP_RECVTTL", unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
			setting{"IP_RECVTOS", unix.IPPROTO_IP, unix.IP_RECVTOS, 1})
	}
	if o.LocalAddr && v6 {
		s = append(s, setting{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
	} else if o.LocalAddr {
		s = append(s, setting{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	if o.TTL != 0 && v6 {
		s = append(s, setting{"IPV6_UNICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, int(o.TTL)})
	} else if o.TTL != 0 {
		s = append(s, setting{"IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, int(o.TTL)})
	}
	if o.RecvErr && v6 {
		s = append(s, setting{"IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1})
	} else if o.RecvErr {
		s = append(s, setting{"IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1})
	}
	if o.DontFragment && v6 {
		s = append(s,
			setting{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
			setting{"IPV6_DONTFRAG", unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1})
	} else if o.DontFragment {
		s = append(s, setting{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE})
	}
	return s
}

// setBuffer asks beyond the limit first; without the right to, the kernel's limit holds.
func setBuffer(fd, force, plain, octets int) {
	if octets <= 0 {
		return
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, octets) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, octets)
	}
}

func bindAddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
		if z := a.Addr().Zone(); z != "" {
			sa.ZoneId = zoneIndex(z)
		}
		return sa
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// Fragment switches the effect of DontFragment off or on again: while it is off,
// what is too long for the interface leaves in fragments.
func Fragment(fd int, v6, on bool) error {
	discover, dontFrag := unix.IP_PMTUDISC_PROBE, 1
	if on {
		discover, dontFrag = unix.IP_PMTUDISC_DONT, 0 // of the same values in IPv6
	}
	level, name := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if v6 {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
		if err := unix.SetsockoptInt(fd, level, unix.IPV6_DONTFRAG, dontFrag); err != nil {
			return fmt.Errorf("set socket option IPV6_DONTFRAG: %w", err)
		}
	}
	if err := unix.SetsockoptInt(fd, level, name, discover); err != nil {
		return fmt.Errorf("switch fragmentation: %w", err)
	}
	return nil
}

// SendBy has what the socket sends leave by an interface, or not at all (IP_UNICAST_IF). Answers may
// come in by any.
func SendBy(fd int, v6 bool, ifIndex int) error {
	level, name := unix.IPPROTO_IP, unix.IP_UNICAST_IF
	if v6 {
		level, name = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF
	}
	var index [4]byte // in network byte order
	binary.BigEndian.PutUint32(index[:], uint32(ifIndex))
	err := unix.SetsockoptString(fd, level, name, string(index[:]))
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = unix.ENODEV // which is what it means
	}
	if err != nil {
		return fmt.Errorf("send by interface %d: %w", ifIndex, err)
	}
	return nil
}

// BindToInterface is SO_BINDTODEVICE by index: nothing is sent or received elsewhere.
func BindToInterface(fd, ifIndex int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, ifIndex); err != nil {
		return fmt.Errorf("bind to interface %d: %w", ifIndex, err)
	}
	return nil
}

// Drops returns how many datagrams the kernel dropped on this socket since it
// was opened, for want of buffer or a wrong checksum (SO_MEMINFO, Linux 4.12).
func Drops(fd int) (uint32, error) {
	const skMeminfoDrops = 8
	var info [9]uint32
	if err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO, &info); err != nil {
		return 0, fmt.Errorf("read socket drops: %w", err)
	}
	return info[skMeminfoDrops], nil
}
