//go:build linux

package loader

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestNICs holds the rows of the driver table against the interfaces that LLAMA_TEST_NICS names, which it takes out
// of their namespace for as long: it is for virtual machines, whose NICs are nobody's.
func TestNICs(t *testing.T) {
	for name := range strings.SplitSeq(os.Getenv("LLAMA_TEST_NICS"), ",") {
		if name != "" {
			t.Run(name, func(t *testing.T) { checkNIC(t, name) })
		}
	}
}

// nicRows are the drivers that qemu has devices for, and that these tests ran on.
func nicRows() []string { return []string{"virtio_net", "vmxnet3"} }

func checkNIC(t *testing.T, name string) {
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	h := newHost(t)
	own, err := netns.GetFromPath("/proc/thread-self/ns/net")
	require.NoError(t, err)
	t.Cleanup(func() { _ = own.Close() })
	home, err := netns.GetFromPath("/proc/1/ns/net")
	require.NoError(t, err)
	t.Cleanup(func() { _ = home.Close() })
	require.NoError(t, netns.Set(home))
	require.NoError(t, netlink.LinkSetNsFd(l, int(own)))
	require.NoError(t, netns.Set(own))
	t.Cleanup(func() { require.NoError(t, netlink.LinkSetNsFd(h.link(name), int(home))) })
	h.up(name)
	ifc, err := interfaceByName(name)
	require.NoError(t, err)
	require.NoError(t, awaitCarrier(t.Context(), ifc, carrierWait))
	d := driverOf(ifc)
	require.Equal(t, ifc.Driver, d.name)
	on, err := featuresOf(name)
	require.NoError(t, err)
	t.Logf("%s: driver %s, rx-vlan-hw-parse %t, rx-lro %t, rx-gro-hw %t", name, d.name, on["rx-vlan-hw-parse"], on["rx-lro"], on["rx-gro-hw"])
	require.Equal(t, d.vlan == tagStripped, on["rx-vlan-hw-parse"])
	require.NotEmpty(t, d.source)
	h.checkNative(d, ifc)
	for _, way := range []string{"generic", "tc", "clsact"} {
		w := h.watchCarrier(ifc)
		a := h.attach(ifc, modeOf(way), h.programs(), h.everyWay()[way])
		require.NoError(t, a.lost())
		require.NoError(t, a.detach())
		if way != "generic" {
			require.False(t, w(), "TC disturbs nothing")
		}
	}
}

// watchCarrier returns what says whether the carrier went since, or the interface itself.
func (h *host) watchCarrier(ifc Interface) func() bool {
	own, err := netns.GetFromPath("/proc/thread-self/ns/net")
	require.NoError(h.t, err)
	updates, done := make(chan netlink.LinkUpdate, 256), make(chan struct{})
	require.NoError(h.t, netlink.LinkSubscribeAt(own, updates, done))
	require.NoError(h.t, own.Close())
	return func() (went bool) {
		time.Sleep(300 * time.Millisecond) // netlink tells of a carrier up to a second late; what is asked here is sooner
		close(done)
		for u := range updates {
			gone := u.Header.Type == unix.RTM_DELLINK || u.Attrs().RawFlags&unix.IFF_LOWER_UP == 0
			went = went || u.Attrs().Index == ifc.Index && gone
		}
		return went
	}
}

func (h *host) checkNative(d driver, ifc Interface) {
	t := h.t
	attaching := h.watchCarrier(ifc)
	x, err := attachXDP(ifc, StepNative, h.xdp("llama_xdp", xdpPass).Program, "")
	if !d.native || d.since != "" && errors.Is(err, unix.EOPNOTSUPP) {
		require.ErrorIs(t, err, unix.EOPNOTSUPP)
		return
	}
	require.NoError(t, err)
	went := attaching()
	t.Logf("attaching: the carrier went: %t", went)
	require.False(t, went && d.attach <= effectPauses, "the table says that it %s", d.attach)
	require.NoError(t, awaitCarrier(t.Context(), ifc, carrierWait))

	exchanging := h.watchCarrier(ifc)
	require.NoError(t, x.update(h.xdp("llama_xdp", xdpPass).Program))
	went = exchanging()
	t.Logf("exchanging: the carrier went: %t", went)
	require.False(t, went && d.replaceFree, "the table says that exchanging is free")
	require.NoError(t, x.detach())
	require.NoError(t, awaitCarrier(t.Context(), ifc, carrierWait))

	for _, mtu := range []int{d.mtu, d.mtu + 1} {
		if err := netlink.LinkSetMTU(h.link(ifc.Name), mtu); d.mtu == 0 || err != nil {
			t.Logf("left out: MTU %d: %v", mtu, err)
			continue
		}
		x, err := attachXDP(ifc, StepNative, h.xdp("llama_xdp", xdpPass).Program, "")
		if err != nil {
			require.Greater(t, mtu, d.mtu, "MTU %d: %v", mtu, err)
			require.True(t, refused(err), "MTU %d: %v", mtu, err)
			continue
		}
		if mtu > d.mtu {
			t.Logf("this kernel takes more than MTU %d", d.mtu) // as virtio_net before 6.3
		}
		require.NoError(t, x.detach())
	}
	require.NoError(t, netlink.LinkSetMTU(h.link(ifc.Name), ifc.MTU))
	require.NoError(t, awaitCarrier(t.Context(), ifc, carrierWait))
}
