//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostLink is the name of every host's interface.
const hostLink = "eth0"

// Host is one network namespace with one interface, eth0, to the fabric.
// The address fields change only by SetIPv4 and SetIPv6, which are not safe beside readers.
type Host struct {
	Name string
	NS   string     // path of the namespace, for setns and nsenter
	IPv4 netip.Addr // in a /24 whose gateway is .1
	IPv6 netip.Addr // in a /64 whose gateway is ::1; the zero Addr if the lab is IPv4Only

	index int
	lab   *Lab
	ns    *namespace
	port  string // the fabric's end of the link
}

func newHost(l *Lab, index int, name string) (_ *Host, err error) {
	h := &Host{Name: name, index: index, lab: l, port: "p-" + name, IPv4: h4(index, 2)}
	if !l.opts.IPv4Only {
		h.IPv6 = h6(index, 2)
	}
	if h.ns, err = newNamespace(l.id + "-" + name); err != nil {
		return nil, err
	}
	h.NS = h.ns.path
	if err := h.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("set up host %s: %w", name, err), h.close())
	}
	return h, nil
}

func (h *Host) setUp() error {
	if err := h.ns.sysctl(commonSysctls(h.lab.opts)); err != nil {
		return err
	}
	mac := func(end byte) net.HardwareAddr { return net.HardwareAddr{2, 0x4c, 0, 0, byte(h.index), end} }
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = h.port, h.lab.opts.MTU, mac(1)
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr = hostLink, mac(2)
	veth.PeerMTU = uint32(h.lab.opts.MTU)
	veth.PeerNamespace = netlink.NsFd(int(h.ns.fd))
	if err := h.lab.fabric.ns.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	if err := errors.Join(
		h.ns.do(func() error { return txChecksumOff(hostLink) }),
		h.lab.fabric.ns.do(func() error { return txChecksumOff(h.port) }),
		linkUp(h.ns.nl, "lo"),
	); err != nil {
		return err
	}
	return h.configure()
}

// configure gives both ends of the link their addresses, neighbours and routes. It can be repeated:
// the kernel forgets some of that when a link goes down.
func (h *Host) configure() error {
	fabric := h.lab.fabric.ns.nl
	port, err := fabric.LinkByName(h.port)
	if err != nil {
		return fmt.Errorf("find %s: %w", h.port, err)
	}
	eth, err := h.ns.nl.LinkByName(hostLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", hostLink, err)
	}
	if err := errors.Join(fabric.LinkSetUp(port), h.ns.nl.LinkSetUp(eth)); err != nil {
		return fmt.Errorf("set link up: %w", err)
	}
	if err := errors.Join(waitUp(fabric, h.port), waitUp(h.ns.nl, hostLink)); err != nil {
		return err
	}
	if err := h.configureFamily(port, eth, h.IPv4, h4(h.index, 1), 24); err != nil || !h.IPv6.IsValid() {
		return err
	}
	return h.configureFamily(port, eth, h.IPv6, h6(h.index, 1), 64)
}

func (h *Host) configureFamily(port, eth netlink.Link, addr, gateway netip.Addr, bits int) error {
	fabric := h.lab.fabric.ns.nl
	any := &net.IPNet{IP: make(net.IP, gateway.BitLen()/8), Mask: net.CIDRMask(0, gateway.BitLen())}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Dst: any, Gw: gateway.AsSlice()}
	if err := errors.Join(
		fabric.AddrReplace(port, ipAddr(gateway, bits)),
		h.ns.nl.AddrReplace(eth, ipAddr(addr, bits)),
		fabric.NeighSet(neighbour(port, addr, eth.Attrs().HardwareAddr)),
		h.ns.nl.NeighSet(neighbour(eth, gateway, port.Attrs().HardwareAddr)),
		h.ns.nl.RouteReplace(route),
	); err != nil {
		return fmt.Errorf("configure %s: %w", addr, err)
	}
	return errors.Join(waitLocal(fabric, gateway), waitLocal(h.ns.nl, addr))
}

// Do runs fn on the caller's goroutine with its thread inside the namespace: sockets that fn opens stay
// there. Goroutines that fn starts are outside (net.Dial of a name starts some; of an address, none).
// t.FailNow inside fn is safe. Calls may be nested.
func (h *Host) Do(fn func() error) error { return h.ns.do(fn) }

// Command prepares a process inside the namespace. It goes through nsenter(1), which becomes the process
// (same pid) and, unlike `ip netns exec`, leaves /sys and with it /sys/fs/bpf as they are.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return h.ns.command(ctx, name, args...)
}

func (n *namespace) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	path, lookErr := exec.LookPath(name)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path, "--", path}, args...)...)
	if lookErr != nil {
		cmd.Err = lookErr // or only an exit status 127 would tell
	}
	return cmd
}

// Addr returns the host's IPv6 address if six, else its IPv4 address.
func (h *Host) Addr(six bool) netip.Addr {
	if six {
		return h.IPv6
	}
	return h.IPv4
}

// SetIPv4 changes the host's address within its /24.
func (h *Host) SetIPv4(addr netip.Addr) error { return h.setAddr(&h.IPv4, addr, h4(h.index, 1), 24) }

// SetIPv6 changes the host's address within its /64.
func (h *Host) SetIPv6(addr netip.Addr) error { return h.setAddr(&h.IPv6, addr, h6(h.index, 1), 64) }

func (h *Host) setAddr(field *netip.Addr, addr, gateway netip.Addr, bits int) error {
	if !netip.PrefixFrom(gateway, bits).Masked().Contains(addr) || addr == gateway || !field.IsValid() {
		return fmt.Errorf("set address %s of host %s: not in the /%d of %s", addr, h.Name, bits, gateway)
	}
	eth, err := h.ns.nl.LinkByName(hostLink)
	if err != nil {
		return fmt.Errorf("find %s: %w", hostLink, err)
	}
	if err := h.ns.nl.AddrDel(eth, ipAddr(*field, bits)); err != nil {
		return fmt.Errorf("remove address %s of host %s: %w", *field, h.Name, err)
	}
	*field = addr
	return h.configure()
}

// LinkDown takes the host's own interface down: routes and sends fail there (ENETUNREACH).
func (h *Host) LinkDown() error { return linkDown(h.ns.nl, hostLink) }

// LinkUp undoes LinkDown, with addresses and routes.
func (h *Host) LinkUp() error { return h.configure() }

func (h *Host) close() error { return h.ns.close() }

func h4(index, last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(index), byte(last)}) }

func h6(index, last int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 7: byte(index), 15: byte(last)})
}

func ipAddr(a netip.Addr, bits int) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

func neighbour(l netlink.Link, ip netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac}
}
