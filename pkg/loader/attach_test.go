//go:build linux

package loader

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// everyWay are the steps and the means by which they are reached.
func (h *host) everyWay() map[string]attachOptions {
	ways := map[string]attachOptions{
		"native":  {pin: h.pin},
		"generic": {pin: h.pin},
		"tc":      {pin: h.pin},
		"clsact":  {pin: h.pin, noTCX: true},
	}
	return ways
}

func modeOf(way string) Mode {
	if way == "clsact" {
		return ModeTC
	}
	m, err := ParseMode(way)
	if err != nil {
		panic(err)
	}
	return m
}

func (h *host) attach(ifc Interface, mode Mode, p programs, o attachOptions) *attachment {
	h.t.Helper()
	a, err := attach(context.Background(), ifc, mode, p.set(), o)
	require.NoError(h.t, err)
	return a
}

// onlyStep says what the counters must be if n frames went to the program of one step.
func onlyStep(s Step, n uint64) (c [3]uint64) {
	if s != StepSocket {
		c[s-StepNative] = n
	}
	return c
}

func TestAttachTakesFrames(t *testing.T) {
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			p := h.programs()
			a := h.attach(ifc, modeOf(way), p, h.everyWay()[way])
			want := map[string]string{"native": "xdp-link", "generic": "xdp-link", "tc": h.tcFlavor(), "clsact": "clsact"}[way]
			require.Equal(t, want, a.Flavor)
			require.Equal(t, Step(modeOf(way)), a.Step)
			require.Empty(t, a.Reasons)
			require.NoError(t, a.lost())

			h.send(ifc, 7)
			h.eventually(func() bool { return p.counts() == onlyStep(a.Step, 7) }, "count")

			require.NoError(t, a.detach())
			h.send(ifc, 7)
			require.Equal(t, onlyStep(Step(modeOf(way)), 7), p.counts(), "counted after it was detached")
			names, err := h.pin.names("")
			require.NoError(t, err)
			require.Empty(t, names, "pins left")
			h.nothingOn(ifc)
		})
	}
}

// nothingOn fails if any program of anybody is on the interface.
func (h *host) nothingOn(ifc Interface) {
	h.t.Helper()
	x, err := readXDP(ifc.Index)
	require.NoError(h.t, err)
	require.Zero(h.t, x)
	if h.tcFlavor() == "tcx" {
		p, err := tcxIngress(ifc.Index)
		require.NoError(h.t, err)
		require.Empty(h.t, p)
	}
	require.Empty(h.t, h.qdiscs(ifc))
}

func (h *host) qdiscs(ifc Interface) (kinds []string) {
	h.t.Helper()
	list, err := netlink.QdiscList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: ifc.Index}})
	require.NoError(h.t, err)
	for _, q := range list {
		if q.Type() == "clsact" || q.Type() == "ingress" {
			kinds = append(kinds, q.Type())
		}
	}
	return kinds
}

// linkID is the id of the link that holds the attachment's program, or 0 if a filter does.
func (h *host) linkID(a *attachment) link.ID {
	h.t.Helper()
	l, ok := a.hook.(*linkHook)
	if !ok {
		return 0
	}
	info, err := l.link.Info()
	require.NoError(h.t, err)
	return info.ID
}

// A process that dies closes its descriptors and nothing else, which is what leave does.
func TestAdoptAfterCrash(t *testing.T) {
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			p, o := h.programs(), h.everyWay()[way]
			a := h.attach(ifc, modeOf(way), p, o)
			step, before := a.Step, h.linkID(a)
			require.NoError(t, a.leave())
			h.send(ifc, 5)
			h.eventually(func() bool { return p.counts() == onlyStep(step, 5) }, "count without a process")

			q := h.programs()
			b := h.attach(ifc, modeOf(way), q, o)
			require.Equal(t, before, h.linkID(b), "a second link")
			require.Equal(t, programID(q.set().at(step)), b.hook.program())
			h.send(ifc, 3)
			h.eventually(func() bool { return q.counts() == onlyStep(step, 3) }, "count of the new program")
			require.Equal(t, onlyStep(step, 5), p.counts(), "the old program still counts")
			if step == StepTC {
				require.Equal(t, 1, h.tcPrograms(ifc))
			}
			require.NoError(t, b.detach())
			h.nothingOn(ifc)
		})
	}
}

// tcPrograms counts the programs on the ingress, of both kinds.
func (h *host) tcPrograms(ifc Interface) int {
	h.t.Helper()
	filters, err := filtersAt(ifc.Index, netlink.HANDLE_MIN_INGRESS)
	require.NoError(h.t, err)
	n := len(filters)
	if h.tcFlavor() == "tcx" {
		p, err := tcxIngress(ifc.Index)
		require.NoError(h.t, err)
		n += len(p)
	}
	return n
}

func TestUpdateInPlace(t *testing.T) {
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			p, q := h.programs(), h.programs()
			a := h.attach(ifc, modeOf(way), p, h.everyWay()[way])
			before := h.linkID(a)
			require.NoError(t, a.update(q.set()))
			require.Equal(t, before, h.linkID(a))
			require.NoError(t, a.lost())
			h.send(ifc, 4)
			h.eventually(func() bool { return q.counts() == onlyStep(a.Step, 4) }, "count of the new program")
			require.Zero(t, p.counts())
			require.ErrorIs(t, a.update(Programs{}), ErrStep)
			require.NoError(t, a.lost(), "an update that failed changes nothing")
		})
	}
}

// Without a pin folder nothing outlives the process, and nothing of an agent's is adopted.
func TestUnpinnedIsForOneProcess(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	for _, noTCX := range []bool{false, true} {
		p, q := h.programs(), h.programs()
		agent := h.attach(ifc, ModeTC, p, attachOptions{pin: h.pin, noTCX: noTCX})
		a := h.attach(ifc, ModeTC, q, attachOptions{noTCX: noTCX})
		require.Equal(t, 2, h.tcPrograms(ifc))
		require.NoError(t, agent.lost())
		require.NoError(t, a.detach())
		require.NoError(t, agent.lost())
		require.NoError(t, agent.detach())
		h.nothingOn(ifc)
	}
	p := h.programs()
	a := h.attach(ifc, ModeNative, p, attachOptions{})
	require.NoError(t, a.leave())
	h.eventually(func() bool {
		x, err := readXDP(ifc.Index)
		return err == nil && x == xdpPrograms{}
	}, "link gone with its process")
}

func TestLostIsSeen(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	for _, way := range []string{"native", "generic", "tc"} {
		if way == "tc" && h.tcFlavor() != "tcx" {
			continue
		}
		a := h.attach(ifc, modeOf(way), h.programs(), attachOptions{pin: h.pin})
		require.NoError(t, a.lost())
		l, err := link.LoadPinnedLink(h.pin.path(linkName("eth0", a.Step)), nil)
		require.NoError(t, err)
		require.NoError(t, l.Detach()) // as `bpftool link detach` does
		require.ErrorIs(t, a.lost(), ErrLost, way)
		require.NoError(t, errors.Join(a.detach(), l.Close()))
	}
	a := h.attach(ifc, ModeTC, h.programs(), attachOptions{pin: h.pin, noTCX: true})
	require.NoError(t, a.lost())
	require.NoError(t, netlink.QdiscDel(clsact(ifc.Index))) // as `tc qdisc del` does
	require.ErrorIs(t, a.lost(), ErrLost)
	require.NoError(t, a.detach())
	_, err := os.Stat(h.pin.path(qdiscPrefix + "eth0"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
