//go:build linux

package loader

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// foreigners are the ways in which somebody else's XDP program comes onto an interface.
func (h *host) foreigners(ifc Interface, p *ebpf.Program) map[string]func() {
	byLink := func(flags link.XDPAttachFlags) func() {
		return func() {
			l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: ifc.Index, Flags: flags})
			require.NoError(h.t, err)
			h.t.Cleanup(func() { _ = l.Close() })
		}
	}
	byNetlink := func(flags int) func() {
		return func() { require.NoError(h.t, netlink.LinkSetXdpFdWithFlags(h.link(ifc.Name), p.FD(), flags)) }
	}
	return map[string]func(){
		"native link":     byLink(link.XDPDriverMode),
		"generic link":    byLink(link.XDPGenericMode),
		"native netlink":  byNetlink(unix.XDP_FLAGS_DRV_MODE),
		"generic netlink": byNetlink(unix.XDP_FLAGS_SKB_MODE),
	}
}

func TestForeignXDPIsNeverReplaced(t *testing.T) {
	for _, how := range []string{"native link", "generic link", "native netlink", "generic netlink"} {
		t.Run(how, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			foreign := h.xdp("firewall", xdpPass)
			h.foreigners(ifc, foreign.Program)[how]()
			there, err := readXDP(ifc.Index)
			require.NoError(t, err)

			p := h.programs()
			a := h.attachBy(willing(effectNone, true), ifc, ModeAuto, p.set(), attachOptions{pin: h.pin})
			require.Equal(t, StepTC, a.Step)
			why := a.Reasons[0].Why
			require.Contains(t, why, fmt.Sprintf("program %d %q", programID(foreign.Program), "firewall"))
			require.Contains(t, why, fmt.Sprintf("(pid %d)", os.Getpid()))
			require.NoError(t, a.stepDown(context.Background(), "go on"))
			require.Equal(t, StepSocket, a.Step)
			require.Contains(t, a.Reasons[2].Why, "firewall")
			for _, m := range []Mode{ModeNative, ModeGeneric} {
				_, err = attach(context.Background(), ifc, m, p.set(), attachOptions{pin: h.pin})
				require.ErrorIs(t, err, ErrForeign, m.String())
				require.ErrorIs(t, err, ErrStep, m.String())
			}
			now, err := readXDP(ifc.Index)
			require.NoError(t, err)
			require.Equal(t, there, now)
			h.send(ifc, 2)
			h.eventually(func() bool { return foreign.count() == 2 }, "count of the foreign program")
		})
	}
}

// What came between our look and our attempt is refused by the kernel, and named just so.
func TestForeignXDPInARace(t *testing.T) {
	for _, how := range []string{"native link", "native netlink", "generic netlink"} {
		t.Run(how, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			h.foreigners(ifc, h.xdp("firewall", xdpPass).Program)[how]()
			a := &attachment{Interface: ifc, driver: driverOf(ifc)}
			for _, s := range []Step{StepNative, StepGeneric} {
				_, err := attachXDP(ifc, s, h.xdp("llama_xdp", xdpDrop).Program, h.pin)
				require.Error(t, err)
				require.ErrorIs(t, a.explain(s, err), ErrForeign, s.String())
				require.ErrorContains(t, a.explain(s, err), "firewall")
			}
		})
	}
}

// An XDP program on a device that stands upon ours keeps us off too, where the kernel says so.
func TestForeignXDPAbove(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	upper := h.add(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mv0", ParentIndex: ifc.Index, TxQLen: -1}, Mode: netlink.MACVLAN_MODE_BRIDGE})
	l, err := link.AttachXDP(link.XDPOptions{Program: h.xdp("firewall", xdpPass).Program, Interface: upper.Index, Flags: link.XDPGenericMode})
	require.NoError(t, err)
	defer l.Close()
	x, err := attachXDP(ifc, StepNative, h.xdp("llama_xdp", xdpPass).Program, "")
	if err == nil {
		require.NoError(t, x.detach())
		t.Log("this kernel, as 5.10, lets both run")
		return
	}
	_, err = attach(context.Background(), ifc, ModeNative, h.programs().set(), attachOptions{pin: h.pin})
	require.ErrorIs(t, err, ErrForeign)
	require.ErrorContains(t, err, "mv0")
	require.ErrorContains(t, err, "firewall")
}

func TestOwnerIsNamed(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	require.NoError(t, h.pin.prepare())
	p := h.xdp("firewall", xdpPass)
	l, err := link.AttachXDP(link.XDPOptions{Program: p.Program, Interface: ifc.Index, Flags: link.XDPDriverMode})
	require.NoError(t, err)
	info, err := l.Info()
	require.NoError(t, err)
	require.NoError(t, l.Pin(h.pin.path("fw")))
	require.NoError(t, p.Close())
	require.NoError(t, l.Close())

	o := findOwner(info.Program)
	require.Equal(t, Owner{
		Program: uint32(info.Program), Name: "firewall", Link: uint32(info.ID), Pins: []string{filepath.Join(string(h.pin), "fw")},
	}, o)
	require.Equal(t, fmt.Sprintf("program %d \"firewall\", link %d, pinned at %s/fw", info.Program, info.ID, h.pin), o.String())
	require.Equal(t, "program 7, without a link, held by no process", Owner{Program: 7}.String())
}

// Whoever attaches at the head after us is seen.
func TestProgramsAhead(t *testing.T) {
	h := newHost(t)
	if h.tcFlavor() != "tcx" {
		return
	}
	ifc := h.veth("eth0", 1500)
	attachTC := func(name string, at link.Anchor) {
		l, err := link.AttachTCX(link.TCXOptions{Program: h.tc(name, tcUnspec).Program, Interface: ifc.Index, Attach: ebpf.AttachTCXIngress, Anchor: at})
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
	}
	attachTC("early", link.Head())
	p := h.programs()
	a := h.attach(ifc, ModeTC, p, attachOptions{pin: h.pin})
	owners, err := a.ahead()
	require.NoError(t, err)
	require.Empty(t, owners, "we attach at the head")
	h.send(ifc, 2)
	h.eventually(func() bool { return p.counts() == onlyStep(StepTC, 2) }, "count at the head")

	attachTC("late", link.Tail())
	attachTC("first", link.Head())
	owners, err = a.ahead()
	require.NoError(t, err)
	require.Len(t, owners, 1)
	require.Equal(t, "first", owners[0].Name)
	require.NoError(t, a.lost())
}
