//go:build linux

package loader

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

func names(places []Place) (s []string) {
	for _, p := range places {
		s = append(s, p.Interface.Name)
	}
	return s
}

func TestPlaces(t *testing.T) {
	h := newHost(t)
	for _, ifc := range []Interface{h.veth("eth0", 1500), h.loopback()} {
		p, err := places(ifc)
		require.NoError(t, err)
		require.Equal(t, []Place{{Interface: ifc}}, p)
	}
	for kind, l := range h.devices() {
		if !h.has(l) {
			continue
		}
		p, err := places(h.add(l))
		if _, members := placement(Interface{Kind: kind}); members {
			require.ErrorIs(t, err, ErrNoPlace)
			require.ErrorContains(t, err, "a "+kind+" without members")
			continue
		}
		require.NoError(t, err, kind)
		require.Equal(t, []string{l.Attrs().Name}, names(p))
	}
}

// A frame without an Ethernet header is nothing that the programs read.
func TestNoPlaceWithoutEthernet(t *testing.T) {
	h := newHost(t)
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN, Queues: 1}
	ifc := h.add(tun)
	defer tun.Fds[0].Close()
	_, err := places(ifc)
	require.ErrorIs(t, err, ErrNoPlace)
	a := h.attach(ifc, ModeAuto, h.programs(), attachOptions{pin: h.pin})
	require.Equal(t, StepSocket, a.Step)
	require.Len(t, a.Reasons, 3)
	require.Contains(t, a.Reasons[1].Why, "no Ethernet header")
}

// Programs go to the members of what only joins them, also through two layers.
func TestPlacesOfMembers(t *testing.T) {
	h := newHost(t)
	devices := h.devices()
	for _, kind := range []string{"bond", "team", "vrf"} {
		if h.has(devices[kind]) {
			h.checkMembers(devices[kind])
		}
	}
}

func (h *host) checkMembers(l netlink.Link) {
	t := h.t
	top := h.add(l)
	for _, name := range []string{"m0", "m1"} {
		h.veth(name, 1500)
		require.NoError(t, netlink.LinkSetDown(h.link(name)))
		require.NoError(t, netlink.LinkSetMasterByIndex(h.link(name), top.Index))
		h.up(name)
	}
	p, err := places(top)
	require.NoError(t, err)
	require.Equal(t, []string{"m0", "m1"}, names(p))
	require.Contains(t, p[0].Why, "member of "+top.Name)
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		q := h.programs()
		var on []*attachment
		for _, place := range p { // one after the other, and together in the end
			on = append(on, h.attach(place.Interface, modeOf(way), q, h.everyWay()[way]))
		}
		for i, a := range on {
			h.send(p[i].Interface, 2)
			h.eventually(func() bool { return q.counts() == onlyStep(a.Step, uint64(2*i+2)) }, "count on a member of "+l.Type())
		}
		for _, a := range on {
			require.NoError(t, a.detach())
		}
	}
	require.NoError(t, netlink.LinkDel(h.link("m0")))
	require.NoError(t, netlink.LinkDel(h.link("m1")))
	require.NoError(t, netlink.LinkDel(l))
}

// What is for this host comes by the bridge, whichever port it came by; a macvlan's frames come by itself.
func TestProgramOnABridgeAndAMacvlan(t *testing.T) {
	h := newHost(t)
	port := h.veth("p0", 1500)
	br := h.add(&netlink.Bridge{LinkAttrs: named("br0")})
	require.NoError(t, netlink.LinkSetMasterByIndex(h.link("p0"), br.Index))
	under := h.veth("u0", 1500)
	mv := h.add(&netlink.Macvlan{LinkAttrs: func() netlink.LinkAttrs { a := named("mv0"); a.ParentIndex = under.Index; return a }(), Mode: netlink.MACVLAN_MODE_BRIDGE})
	for _, c := range []struct{ by, on Interface }{{port, br}, {under, mv}} {
		p, err := places(c.on)
		require.NoError(t, err)
		require.Equal(t, []string{c.on.Name}, names(p))
		require.NotEmpty(t, p[0].Why)
		for _, way := range []string{"generic", "tc", "clsact"} {
			q := h.programs()
			a := h.attach(p[0].Interface, modeOf(way), q, h.everyWay()[way])
			to := c.by
			to.MAC = c.on.MAC
			h.eventually(func() bool { h.send(to, 1); return q.counts() != [3]uint64{} }, "count on "+c.on.Name)
			require.NoError(t, a.detach())
		}
		a := h.attach(p[0].Interface, ModeAuto, h.programs(), attachOptions{pin: h.pin, resetLink: true})
		require.Equal(t, StepTC, a.Step)
		require.Contains(t, a.Reasons[0].Why, "has no native XDP")
	}
}

// On a VLAN device the tag is off. On the interface under it native XDP would not see it, and reply without.
func TestVLAN(t *testing.T) {
	h := newHost(t)
	under := h.veth("eth0", 1500)
	vlan := func() netlink.Link {
		return &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth0.7", ParentIndex: h.link("eth0").Attrs().Index, TxQLen: -1}, VlanId: 7}
	}
	if !h.has(vlan()) {
		return
	}
	a := h.attach(under, ModeNative, h.programs(), attachOptions{pin: h.pin})
	require.NoError(t, a.leave())
	h.at(func() { h.add(vlan()) })
	on := h.add(vlan())
	for _, mode := range []Mode{ModeNative, ModeAuto} { // also where it is attached already
		a, err := attachBy(context.Background(), willing(effectNone, true), under, mode, h.programs().set(), attachOptions{pin: h.pin})
		if mode == ModeNative {
			require.ErrorIs(t, err, ErrStep)
			require.ErrorContains(t, err, "would reply untagged")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, StepTC, a.Step)
		require.NoError(t, a.detach())
	}
	p, err := places(on)
	require.NoError(t, err)
	require.Equal(t, []string{"eth0.7"}, names(p))
	for _, way := range []string{"generic", "tc", "clsact"} {
		q := h.programs()
		a := h.attach(on, modeOf(way), q, h.everyWay()[way])
		h.send(on, 2)
		h.eventually(func() bool { return q.counts() == onlyStep(a.Step, 2) }, "count on a VLAN device by "+way)
		require.NoError(t, a.detach())
	}
}

func (h *host) address(ifc Interface, cidr string) {
	h.t.Helper()
	a, err := netlink.ParseAddr(cidr)
	require.NoError(h.t, err)
	require.NoError(h.t, netlink.AddrAdd(h.link(ifc.Name), a))
}

func network(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestDefaultInterfaces(t *testing.T) {
	h := newHost(t)
	h.up("lo")
	find := func(targets ...string) (s []string) {
		t.Helper()
		var addrs []netip.Addr
		for _, a := range targets {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		found, err := defaultInterfaces(addrs, "")
		require.NoError(t, err)
		for _, i := range found {
			s = append(s, i.Name)
		}
		return s
	}
	require.Empty(t, find())
	require.Empty(t, find("192.0.2.1", "2001:db8::1"), "no route to them")
	require.Equal(t, []string{"lo"}, find("127.0.0.1", "::1"))

	a, b, c := h.veth("a0", 1500), h.veth("b0", 1500), h.veth("c0", 1500)
	h.address(a, "10.1.0.2/24")
	h.address(b, "10.2.0.2/24")
	h.address(c, "10.3.0.2/24")
	require.Equal(t, []string{"c0"}, find("10.3.0.9"))
	require.Equal(t, []string{"lo"}, find("10.3.0.2"), "an address of this host")

	hops := []*netlink.NexthopInfo{{LinkIndex: a.Index, Gw: net.IPv4(10, 1, 0, 1)}, {LinkIndex: b.Index, Gw: net.IPv4(10, 2, 0, 1)}}
	require.NoError(t, netlink.RouteAdd(&netlink.Route{Dst: network("0.0.0.0/0"), MultiPath: hops}))
	require.Equal(t, []string{"a0", "b0"}, find(), "both uplinks of a multipath route")
	require.Equal(t, []string{"a0", "b0", "c0"}, find("10.3.0.9", "192.0.2.1"))
	require.NoError(t, netlink.RouteAdd(&netlink.Route{Dst: network("198.51.100.0/24"), Type: 7})) // unreachable
	require.Equal(t, []string{"a0", "b0"}, find("198.51.100.1"))
}
