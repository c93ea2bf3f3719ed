//go:build linux

package collector

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/sock"
)

func ipIn(t *testing.T, h *lab.Host, args string) {
	t.Helper()
	out, err := h.Command(t.Context(), "ip", strings.Fields(args)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", args, out)
}

// The way is the device's or none, whatever others lead there, and whatever the kernel makes up.
func TestWaysByADevice(t *testing.T) {
	l := lab.ForTest(t, 2)
	h := l.Host(1)
	_, err := l.Cable(h, l.Host(2))
	require.NoError(t, err)
	ipIn(t, h, "addr add fd77:0:0:ff::1/64 dev eth1 nodad")
	require.NoError(t, h.Do(func() error {
		nl := &netlink.Handle{}
		far := []netip.Addr{netip.MustParseAddr("10.77.2.2"), netip.MustParseAddr("fd77:0:0:2::2")}
		any, none := netip.Addr{}, device{}
		require.Equal(t, none, deviceNamed(nl, "eth9"))
		require.Equal(t, none, deviceNamed(nl, ""))
		eth0, eth1 := deviceNamed(nl, "eth0"), deviceNamed(nl, "eth1")
		require.Equal(t, device{index: eth1.index}, eth1)
		for _, a := range far {
			for _, d := range []device{none, eth0} {
				r, err := d.routeTo(nl, a, any)
				require.NoError(t, err)
				require.Equal(t, eth0.index, r.LinkIndex)
			}
			_, err := eth1.routeTo(nl, a, any)
			require.Error(t, err, "no route by eth1")
		}
		ipIn(t, h, "route add 10.77.2.0/24 via 10.77.0.2 dev eth1 metric 5000")
		ipIn(t, h, "route add fd77:0:0:2::/64 via fd77:0:0:ff::2 dev eth1 metric 5000")
		ipIn(t, h, "route add fd77:0:0:2::/64 via fd77:0:0:1::1 dev eth0 metric 100")
		for _, a := range far {
			r, err := eth1.routeTo(nl, a, any)
			require.NoError(t, err)
			require.Equal(t, eth1.index, r.LinkIndex)
		}
		_, err := eth1.routeTo(nl, far[0], h.IPv4)
		require.NoError(t, err)
		_, err = eth1.routeTo(nl, far[1], h.IPv6)
		require.ErrorIs(t, err, unix.ENETUNREACH, "with a source, IPv6 takes eth0")
		ipIn(t, h, "link del eth1")
		_, err = eth1.routeTo(nl, far[0], any)
		require.Error(t, err)
		return nil
	}))
}

// In a VRF, and by an interface that is in one: a probe leaves, and its answer is received.
func TestDeviceInAVRF(t *testing.T) {
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	if out, err := h1.Command(t.Context(), "ip", "link", "add", "red", "type", "vrf", "table", "10").CombinedOutput(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("LLAMA_TEST_KINDS"), ","), "vrf") {
			t.Fatalf("LLAMA_TEST_KINDS names vrf, and the kernel says: %s", out)
		}
		t.Logf("left out: this kernel makes no vrf: %s", out)
		return
	}
	for _, args := range []string{
		"link set red up", "link set eth0 master red", "addr replace " + h1.IPv6.String() + "/64 dev eth0 nodad",
		"route add 10.77.0.0/16 via 10.77.1.1 vrf red", "-6 route add fd77::/32 via fd77:0:0:1::1 dev eth0 vrf red",
		"route add 192.0.2.0/24 dev lo", "-6 route add 2001:db8::/32 dev lo", // in the main table
	} {
		ipIn(t, h1, args)
	}
	for _, far := range []netip.Addr{h2.IPv4, h2.IPv6} {
		require.NoError(t, h2.Do(func() error { newPeer(t, netip.AddrPortFrom(far, 862).String(), nil); return nil }))
	}
	require.NoError(t, h1.Do(func() error {
		nl := &netlink.Handle{}
		eth0 := deviceNamed(nl, "eth0")
		for _, name := range []string{"red", "eth0"} {
			d := deviceNamed(nl, name)
			require.True(t, d.bound)
			for _, far := range []netip.Addr{h2.IPv4, h2.IPv6} {
				r, err := d.routeTo(nl, far, netip.Addr{})
				require.NoError(t, err)
				require.Equal(t, eth0.index, r.LinkIndex, "the kernel measures at the member")
				require.True(t, answered(t, d, netip.AddrPortFrom(far, 862)), "%s by %s", far, name)
			}
			for _, out := range []string{"192.0.2.1", "2001:db8::1"} {
				_, err := d.routeTo(nl, netip.MustParseAddr(out), netip.Addr{})
				require.Error(t, err, "%s: none of the main table", out)
			}
		}
		return nil
	}))
}

// answered sends a probe by the device, again and again until there is an answer.
func answered(t *testing.T, d device, to netip.AddrPort) bool {
	t.Helper()
	bind := netip.IPv4Unspecified()
	if to.Addr().Is6() {
		bind = netip.IPv6Unspecified()
	}
	fd, err := sock.Open(sock.Options{Bind: netip.AddrPortFrom(bind, 0)})
	require.NoError(t, err)
	defer unix.Close(fd)
	l, s := &loop{device: d}, &socket{key: socketKey{v6: to.Addr().Is6()}, fd: fd}
	require.NoError(t, l.pin(s))
	out, in := sock.NewBatch(1, 256), sock.NewBatch(1, 256)
	out.SetLen(0, copy(out.Buffer(0), make([]byte, 44)))
	dest := sock.NewSockaddr(to)
	out.SetAddr(0, &dest)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, errno := out.Send(fd, 0, 1); errno != 0 {
			t.Logf("%s: %v", to, errno)
		}
		time.Sleep(50 * time.Millisecond)
		if n, _ := in.Recv(fd, unix.MSG_DONTWAIT); n == 1 {
			return true
		}
	}
	return false
}
