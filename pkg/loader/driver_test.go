//go:build linux

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// devices are what a kernel can make by itself, one of each kind. The first of a pair is the one to attach to.
func (h *host) devices() map[string]netlink.Link {
	under, under2 := h.veth("under0", 1500).Index, h.veth("under1", 1500).Index // macvlan and ipvlan do not share one
	with := func(name string, f func(*netlink.LinkAttrs)) netlink.LinkAttrs {
		a := named(name)
		f(&a)
		return a
	}
	onUnder := func(a *netlink.LinkAttrs) { a.ParentIndex = under }
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, Mode: netlink.TUNTAP_MODE_TAP, Queues: 1}
	h.t.Cleanup(func() {
		for _, fd := range tap.Fds {
			_ = fd.Close()
		}
	})
	return map[string]netlink.Link{
		"bridge":  &netlink.Bridge{LinkAttrs: named("br0")},
		"macvlan": &netlink.Macvlan{LinkAttrs: with("mv0", onUnder), Mode: netlink.MACVLAN_MODE_BRIDGE},
		"vxlan":   &netlink.Vxlan{LinkAttrs: with("vx0", func(a *netlink.LinkAttrs) { a.MTU = 1400 }), VxlanId: 7, Port: 4789},
		"tun":     tap,
		"dummy":   &netlink.Dummy{LinkAttrs: named("du0")},
		"vlan":    &netlink.Vlan{LinkAttrs: with("vl0", onUnder), VlanId: 7},
		"bond":    netlink.NewLinkBond(named("bo0")),
		"team":    &netlink.GenericLink{LinkAttrs: named("te0"), LinkType: "team"},
		"vrf":     &netlink.Vrf{LinkAttrs: named("vrf0"), Table: 77},
		"ipvlan":  &netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Name: "iv0", ParentIndex: under2, TxQLen: -1}, Mode: netlink.IPVLAN_MODE_L2},
	}
}

// The rows that say "run" are run by this test, as far as the kernel makes such devices, or by TestNICs: whether
// native XDP can be had, that it disturbs nothing, and that a program can be exchanged.
func TestDriverTableIsTrue(t *testing.T) {
	h := newHost(t)
	made := map[string]Interface{"veth": h.veth("eth0", 1500), "loopback": h.loopback()}
	covered := append(nicRows(), "veth", "loopback")
	for kind, l := range h.devices() {
		covered = append(covered, kind)
		if h.has(l) {
			made[kind] = h.add(l)
		}
	}
	for _, d := range driverTable() {
		require.Equal(t, slices.Contains(covered, d.name), d.evidence == evidenceRun, "%s: evidence %s", d.name, d.evidence)
		ifc, there := made[d.name]
		if !there {
			continue
		}
		if _, members := placement(ifc); members {
			continue // nothing goes on it
		}
		t.Logf("checking %s", d.name)
		h.checkRow(driverOf(ifc), ifc)
	}
}

func (h *host) checkRow(d driver, ifc Interface) {
	t := h.t
	before, err := interfaceByIndex(ifc.Index)
	require.NoError(t, err)
	x, err := attachXDP(ifc, StepNative, h.xdp("llama_xdp", xdpPass).Program, "")
	if !d.native {
		require.ErrorIs(t, err, unix.EOPNOTSUPP, d.name)
	} else {
		require.NoError(t, err, d.name)
		after, err := interfaceByIndex(ifc.Index)
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.NoError(t, x.update(h.xdp("llama_xdp", xdpPass).Program))
		require.NoError(t, x.detach())
	}
	for _, way := range []string{"generic", "tc", "clsact"} {
		a := h.attach(ifc, modeOf(way), h.programs(), h.everyWay()[way])
		require.NoError(t, a.lost())
		require.NoError(t, a.detach())
	}
}

func TestVethLimits(t *testing.T) {
	h := newHost(t)
	d := driverOf(Interface{Kind: "veth"})
	for i, mtu := range []int{d.mtu, d.mtu + 1} {
		name := fmt.Sprintf("eth%d", i)
		ifc := h.veth(name, 1500)
		// It is the MTU of the other end that counts.
		h.at(func() { require.NoError(t, netlink.LinkSetMTU(h.link(name), mtu)) })
		_, err := attachXDP(ifc, StepNative, h.xdp("llama_xdp", xdpPass).Program, "")
		if mtu == d.mtu {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, unix.ERANGE)
		}
	}
}

func TestDriverRows(t *testing.T) {
	seen := make(map[string]bool)
	for _, d := range driverTable() {
		require.False(t, seen[d.name], "%s has two rows", d.name)
		seen[d.name] = true
		require.NotEmpty(t, d.source, d.name)
		require.Contains(t, []evidence{evidenceRun, evidenceRead}, d.evidence, d.name)
		if !d.native {
			require.Equal(t, driver{name: d.name, source: d.source, trap: d.trap, evidence: d.evidence}, d, "no native XDP, and yet more to say")
		}
		if d.frags != "" && d.mtu == 0 {
			require.Equal(t, "mvneta", d.name, "frags matter where there is a limit")
		}
	}
}

// What the documents say of a row is what the row says.
func TestDriversAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/kernel.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "\n## Drivers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	said := map[string]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		for i, name := range strings.Split(cells[2], "`") {
			if i%2 == 1 {
				said[name] = strings.TrimSpace(cells[1])
			}
		}
	}
	require.Len(t, said, len(driverTable()))
	for _, d := range driverTable() {
		want := "read; has none"
		switch {
		case d.evidence == evidenceRun:
			want = "run, as"
		case d.native:
			want = "read; has native XDP"
		}
		require.True(t, strings.HasPrefix(said[d.name], want), "%s: %q", d.name, said[d.name])
	}
}

func TestDriverOf(t *testing.T) {
	require.Equal(t, effectReopens, driverOf(Interface{Driver: "ice"}).attach)
	require.True(t, driverOf(Interface{Kind: "veth", Driver: "veth"}).peer)
	require.False(t, driverOf(Interface{Kind: "vlan", Driver: "802.1Q VLAN Support"}).native)
	require.False(t, driverOf(Interface{Kind: "bridge", Driver: "bridge"}).native)
	unknown := driverOf(Interface{Driver: "newnic"})
	require.Equal(t, effectResets, unknown.attach)
	require.False(t, unknown.replaceFree)
	require.True(t, unknown.native, "it may be tried where that is allowed")
	require.Equal(t, "MTU 9000 needs an MTU of at most 1500", driverOf(Interface{Driver: "igc"}).mtuMend(Interface{MTU: 9000}))
}

// The explanation names what the table knows, and the errno is still to be had.
func TestExplainAttach(t *testing.T) {
	for _, c := range []struct {
		driver string
		mtu    int
		err    unix.Errno
		want   string
	}{
		{"ice", 9000, unix.EOPNOTSUPP, "driver ice refuses (MTU 9000 needs a kernel from 6.3 on, or an MTU of at most 3046): operation not supported"},
		{"ena", 1500, unix.EINVAL, "driver ena refuses (it needs at most half the maximum of channels): invalid argument"},
		{"ixgbe", 1500, unix.EINVAL, "driver ixgbe refuses (it needs at most 128 CPUs; refuses with SR-IOV or DCB on): invalid argument"},
		{"sfc", 1500, unix.ENOMEM, "driver sfc refuses (its rings for XDP_TX are made when it is probed, or not at all): cannot allocate memory"},
		{"ice", 1500, unix.EPERM, "not permitted (CAP_NET_ADMIN and CAP_BPF are needed, before kernel 5.8 CAP_SYS_ADMIN): operation not permitted"},
		{"veth", 1500, unix.ENOTCONN, "its peer is missing: transport endpoint is not connected"},
	} {
		ifc := Interface{Driver: c.driver, MTU: c.mtu}
		a := &attachment{Interface: ifc, driver: driverOf(ifc)}
		err := a.explain(StepNative, fmt.Errorf("attach: %w", c.err))
		require.ErrorIs(t, err, c.err)
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, c.want, removeOnce(err.Error(), "attach: "))
	}
	plain := errors.New("plain")
	require.Equal(t, plain, (&attachment{}).explain(StepTC, plain))
}

func removeOnce(s, what string) string {
	for i := 0; i+len(what) <= len(s); i++ {
		if s[i:i+len(what)] == what {
			return s[:i] + s[i+len(what):]
		}
	}
	return s
}
