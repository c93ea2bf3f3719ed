//go:build linux

package hostinfo

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/llama-agent/llama-agent/internal/lab"
)

func byRoute(t testing.TB, h *lab.Host, source []netip.Addr, targets ...string) (out []Chosen, err error) {
	t.Helper()
	var addrs []netip.Addr
	for _, s := range targets {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	require.NoError(t, h.Do(func() error {
		r, e := Open()
		if e != nil {
			return e
		}
		defer r.Close()
		out, err = r.ByRoute(addrs, source, "")
		return nil
	}))
	return out, err
}

// uplinks adds up1 and up2, both up, with an address each, 10.99.1.1/24 and 10.99.2.1/24.
func uplinks(t testing.TB, h *lab.Host) {
	for _, n := range []string{"1", "2"} {
		v := netlink.NewVeth(linkNamed("up" + n))
		v.PeerName = "far" + n
		add(t, h, v)
		tool(t, h, "ip", "address", "add", "10.99."+n+".1/24", "dev", "up"+n)
		tool(t, h, "ip", "address", "add", "fd99:0:0:"+n+"::1/64", "dev", "up"+n, "nodad")
		tool(t, h, "ip", "link", "set", "far"+n, "up")
		tool(t, h, "ip", "link", "set", "up"+n, "up")
	}
}

func TestChooseByRoute(t *testing.T) {
	h := lab.ForTest(t, 1).Host(1)
	got, err := byRoute(t, h, nil)
	require.NoError(t, err)
	require.Equal(t, []Chosen{{"eth0", "default route"}}, got)

	got, err = byRoute(t, h, nil, "127.0.0.1", h.IPv4.String(), "::1", h.IPv6.String(), "10.1.1.1", "fd00::1")
	require.NoError(t, err)
	require.Equal(t, []Chosen{{"eth0", "default route"}, {"lo", "route to 127.0.0.1"}}, got, "our own addresses are on lo")

	uplinks(t, h)
	for _, target := range []string{"10.99.2.7", "fd99:0:0:2::7", "::ffff:10.99.2.7"} {
		got, err = byRoute(t, h, nil, target)
		require.NoError(t, err)
		require.Equal(t, []Chosen{{"eth0", "default route"}, {"up2", "route to " + netip.MustParseAddr(target).Unmap().String()}}, got)
	}
}

// TestChooseEveryNextHop: probes of one target take all uplinks, whichever the kernel would name for one packet.
func TestChooseEveryNextHop(t *testing.T) {
	h := lab.ForTest(t, 1).Host(1)
	uplinks(t, h)
	tool(t, h, "ip", "route", "add", "10.200.0.0/16", "nexthop", "via", "10.99.1.2", "nexthop", "via", "10.99.2.2")
	tool(t, h, "ip", "-6", "route", "add", "fd20::/16", "nexthop", "via", "fd99:0:0:1::2", "nexthop", "via", "fd99:0:0:2::2")
	for _, target := range []string{"10.200.1.1", "fd20::1"} {
		got, err := byRoute(t, h, nil, target)
		require.NoError(t, err)
		why := "route to " + target
		require.ElementsMatch(t, []Chosen{{"eth0", "default route"}, {"up1", why}, {"up2", why}}, got)
	}
	// The same as default routes.
	tool(t, h, "ip", "route", "replace", "default", "nexthop", "via", "10.99.1.2", "nexthop", "via", "10.99.2.2")
	tool(t, h, "ip", "-6", "route", "del", "default")
	got, err := byRoute(t, h, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []Chosen{{"up1", "default route"}, {"up2", "default route"}}, got)
}

// TestChooseBySource: the route depends on the address that probes leave from.
func TestChooseBySource(t *testing.T) {
	h := lab.ForTest(t, 1).Host(1)
	uplinks(t, h)
	tool(t, h, "ip", "rule", "add", "from", "10.99.1.1", "lookup", "77")
	tool(t, h, "ip", "route", "add", "10.200.0.0/16", "via", "10.99.1.2", "table", "77")
	got, err := byRoute(t, h, []netip.Addr{netip.MustParseAddr("10.99.1.1")}, "10.200.1.1")
	require.NoError(t, err)
	require.Equal(t, []Chosen{{"eth0", "default route"}, {"up1", "route to 10.200.1.1"}}, got)
}

func TestChooseWithoutRoutes(t *testing.T) {
	h := lab.ForTest(t, 1).Host(1)
	require.NoError(t, h.Do(func() error {
		for _, zero := range []net.IPNet{{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}} {
			require.NoError(t, netlink.RouteDel(&netlink.Route{Dst: &zero, LinkIndex: link(t, h, "eth0").Attrs().Index}))
		}
		return nil
	}))
	got, err := byRoute(t, h, nil, "192.0.2.1", "127.0.0.1", "2001:db8::1")
	require.Equal(t, []Chosen{{"lo", "route to 127.0.0.1"}}, got, "what has a route is still chosen")
	require.ErrorContains(t, err, "route to 192.0.2.1: ")
	require.ErrorContains(t, err, "route to 2001:db8::1: ")
}
