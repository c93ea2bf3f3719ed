//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// cableLink is the name of both ends of a cable.
const cableLink = "eth1"

// Cable is a link between two hosts with no fabric on it: what goes over it is forwarded by nobody, and costs
// the two hosts alone. Faults and taps are not to be had there.
type Cable struct {
	Link string     // the interface's name, at both ends
	A, B netip.Addr // the hosts' IPv4 addresses on it
}

// Cable lays a cable between two hosts, which lasts as long as the lab. A host has one at the most.
func (l *Lab) Cable(a, b *Host) (*Cable, error) {
	c := &Cable{Link: cableLink, A: h4(0, a.index), B: h4(0, b.index)}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = cableLink, l.opts.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = cableLink, uint32(l.opts.MTU), netlink.NsFd(int(b.ns.fd))
	if err := a.ns.nl.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("lay cable from %s to %s: %w", a.Name, b.Name, err)
	}
	atA, errA := a.plug(c.A)
	atB, errB := b.plug(c.B)
	if err := errors.Join(errA, errB); err != nil {
		return nil, fmt.Errorf("plug cable in: %w", err)
	}
	if err := errors.Join(
		waitUp(a.ns.nl, cableLink), waitUp(b.ns.nl, cableLink),
		a.ns.nl.NeighSet(neighbour(atA, c.B, atB.Attrs().HardwareAddr)),
		b.ns.nl.NeighSet(neighbour(atB, c.A, atA.Attrs().HardwareAddr)),
	); err != nil {
		return nil, fmt.Errorf("set cable up: %w", err)
	}
	return c, nil
}

// plug gives the host's end of its cable an address.
func (h *Host) plug(addr netip.Addr) (netlink.Link, error) {
	if err := h.ns.do(func() error { return txChecksumOff(cableLink) }); err != nil {
		return nil, err
	}
	link, err := h.ns.nl.LinkByName(cableLink)
	if err != nil {
		return nil, err
	}
	if err := h.ns.nl.AddrReplace(link, ipAddr(addr, 24)); err != nil {
		return nil, err
	}
	return link, h.ns.nl.LinkSetUp(link)
}
