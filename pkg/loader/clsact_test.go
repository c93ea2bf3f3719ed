//go:build linux

package loader

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (h *host) filter(f netlink.Filter) {
	h.t.Helper()
	require.NoError(h.t, netlink.FilterAdd(f))
}

func (h *host) foreignFilter(ifc Interface, p *counted, parent uint32, prio uint16) netlink.Filter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifc.Index, Parent: parent, Handle: 1, Priority: prio, Protocol: unix.ETH_P_ALL},
		Fd:          p.FD(), Name: "foreign", DirectAction: true,
	}
}

// The qdisc goes only if we made it and nobody else uses it by then, also when another process made it.
func TestQdiscBelongsToWhoMadeIt(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	o := attachOptions{pin: h.pin, noTCX: true}

	a := h.attach(ifc, ModeTC, h.programs(), o)
	require.Equal(t, []string{"clsact"}, h.qdiscs(ifc))
	require.NoError(t, a.leave())
	a = h.attach(ifc, ModeTC, h.programs(), o)
	require.NoError(t, a.detach())
	require.Empty(t, h.qdiscs(ifc), "made by us, and still there")

	require.NoError(t, netlink.QdiscAdd(clsact(ifc.Index)))
	a = h.attach(ifc, ModeTC, h.programs(), o)
	require.NoError(t, a.detach())
	require.Equal(t, []string{"clsact"}, h.qdiscs(ifc), "not made by us")
	require.NoError(t, netlink.QdiscDel(clsact(ifc.Index)))

	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		a = h.attach(ifc, ModeTC, h.programs(), o)
		foreign := h.tc("foreign", tcUnspec)
		h.filter(h.foreignFilter(ifc, foreign, parent, 7))
		require.NoError(t, a.detach())
		require.Equal(t, []string{"clsact"}, h.qdiscs(ifc), "used by somebody else")
		require.NoError(t, netlink.QdiscDel(clsact(ifc.Index)))
	}

	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifc.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	require.NoError(t, netlink.QdiscAdd(ingress))
	p := h.programs()
	a = h.attach(ifc, ModeTC, p, o)
	h.send(ifc, 2)
	h.eventually(func() bool { return p.counts() == onlyStep(StepTC, 2) }, "count on an ingress qdisc")
	require.NoError(t, a.detach())
	require.Equal(t, []string{"ingress"}, h.qdiscs(ifc))
}

// Ours runs before what is there, and what is there still runs for what is not ours.
func TestFilterAmongOthers(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	o := attachOptions{pin: h.pin, noTCX: true}
	foreign := h.tc("foreign", tcUnspec)
	p := programs{native: h.xdp("llama_xdp", xdpDrop), generic: h.xdp("llama_xdp_skb", xdpDrop), tc: h.tc("llama_tc", tcUnspec)}
	require.NoError(t, netlink.QdiscAdd(clsact(ifc.Index)))
	h.filter(h.foreignFilter(ifc, foreign, netlink.HANDLE_MIN_INGRESS, 1))
	a := h.attach(ifc, ModeTC, p, o)
	h.send(ifc, 3)
	h.eventually(func() bool { return p.tc.count() == 3 && foreign.count() == 3 }, "count of both")
	require.NoError(t, a.update(h.programs().set())) // one that keeps what it counts
	h.send(ifc, 3)
	require.NoError(t, a.lost())
	require.EqualValues(t, 3, foreign.count(), "ours was to run first")
	require.NoError(t, a.detach())
	require.Equal(t, 1, h.tcPrograms(ifc))
	require.NoError(t, netlink.QdiscDel(clsact(ifc.Index)))

	// A priority of another kind of filter cannot be shared.
	require.NoError(t, netlink.QdiscAdd(clsact(ifc.Index)))
	err := netlink.FilterAdd(&netlink.U32{FilterAttrs: netlink.FilterAttrs{LinkIndex: ifc.Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL}})
	if errors.Is(err, unix.ENOENT) && !demanded("u32") {
		t.Log("left out: this kernel has no classifier u32")
		return
	}
	require.NoError(t, err)
	a = h.attach(ifc, ModeTC, p, o)
	require.EqualValues(t, 2, a.hook.(*clsactHook).filter.Priority)
	require.NoError(t, a.leave())
	a = h.attach(ifc, ModeTC, p, o)
	require.EqualValues(t, 2, a.hook.(*clsactHook).filter.Priority)
	require.NoError(t, a.detach())
	require.Equal(t, 1, h.tcPrograms(ifc))
}
