//go:build linux

package hostinfo

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestForeignPrograms are seen with where they run and what the hook says of them.
func TestForeignPrograms(t *testing.T) {
	h := stack(t)
	const xdp, schedCls = 6, 3 // enum bpf_prog_type
	asked := []uint32{}
	owner := func(id uint32) string {
		asked = append(asked, id)
		return "someone"
	}
	native, nativeID := loadProgram(t, xdp)
	generic, genericID := loadProgram(t, xdp)
	tc, tcID := loadProgram(t, schedCls)
	p0, eth0, br0 := link(t, h, "p0"), link(t, h, "eth0"), link(t, h, "br0")
	require.NoError(t, h.Do(func() error {
		require.NoError(t, netlink.LinkSetXdpFdWithFlags(eth0, native, nl.XDP_FLAGS_DRV_MODE))
		require.NoError(t, netlink.LinkSetXdpFdWithFlags(br0, generic, nl.XDP_FLAGS_SKB_MODE))
		qdisc := netlink.QdiscAttrs{LinkIndex: p0.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
		require.NoError(t, netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: qdisc, QdiscType: "clsact"}))
		return netlink.FilterAdd(&netlink.BpfFilter{Fd: tc, Name: "theirs", DirectAction: true, FilterAttrs: netlink.FilterAttrs{
			LinkIndex: p0.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_ALL}})
	}))
	got := readIn(t, h, owner, stackNames...)
	require.Equal(t, []Program{{Hook: HookNative, ID: nativeID, Owner: "someone"}}, got["eth0"].Programs)
	require.Equal(t, []Program{{Hook: HookGeneric, ID: genericID, Owner: "someone"}}, got["br0"].Programs)
	require.Equal(t, []Program{{Hook: HookTC, ID: tcID, Name: "theirs", Owner: "someone"}}, got["p0"].Programs)
	require.Empty(t, got["p1"].Programs)
	require.ElementsMatch(t, []uint32{nativeID, genericID, tcID}, asked)
	require.True(t, got["eth0"].Programs[0].XDP())
	require.False(t, got["p0"].Programs[0].XDP())

	require.NoError(t, h.Do(func() error { return netlink.LinkSetXdpFdWithFlags(eth0, -1, nl.XDP_FLAGS_DRV_MODE) }))
	require.Empty(t, readIn(t, h, nil, "eth0")["eth0"].Programs)
}
