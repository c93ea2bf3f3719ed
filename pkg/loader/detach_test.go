//go:build linux

package loader

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func programIDs(t *testing.T) (ids []ebpf.ProgramID) {
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return ids
		}
		require.NoError(t, err)
		id = next
		ids = append(ids, id)
	}
}

func linkIDs(t *testing.T) (ids []link.ID) {
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		ids = append(ids, it.ID)
	}
	require.NoError(t, it.Err())
	return ids
}

func TestDetachAllLeavesNothing(t *testing.T) {
	h := newHost(t)
	var programs []ebpf.ProgramID
	var links []link.ID
	var all []Interface
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		ifc := h.veth(way+".0", 1500)
		all = append(all, ifc)
		p := h.programs()
		a := h.attach(ifc, modeOf(way), p, h.everyWay()[way])
		programs = append(programs, a.hook.program())
		if id := h.linkID(a); id != 0 {
			links = append(links, id)
		}
		require.NoError(t, a.leave())
		require.NoError(t, errors.Join(p.native.Close(), p.generic.Close(), p.tc.Close()))
	}
	// One of a process that runs, without a pin, and one parked.
	alive := h.veth("alive0", 1500)
	p := h.programs()
	a := h.attach(alive, ModeNative, p, attachOptions{})
	parked := h.veth("parked0", 1500)
	b := h.attachBy(willing(effectReopens, true), parked, ModeAuto, p.set(), attachOptions{pin: h.pin, resetLink: true})
	require.NoError(t, b.stepDown(context.Background(), "for the test"))
	require.NoError(t, b.leave())
	all = append(all, alive, parked)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "llama_lease", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	require.NoError(t, err)
	require.NoError(t, m.Pin(h.pin.path("llama_lease")))
	require.NoError(t, m.Close())
	// Somebody else's, which stay.
	foreign := h.veth("foreign0", 1500)
	fw := h.xdp("firewall", xdpPass)
	h.foreigners(foreign, fw.Program)["native link"]()

	removed, err := detachAll(string(h.pin))
	require.NoError(t, err)
	require.Subset(t, removed, []string{
		"native program on native.0", "generic program on generic.0", "filter llama_tc on clsact.0",
		"native program on alive0, of a process that runs", "native program on parked0", "pin " + h.pin.path("llama_lease"),
	})
	for _, ifc := range all {
		h.nothingOn(ifc)
	}
	require.ErrorIs(t, a.lost(), ErrLost)
	_, err = os.Stat(string(h.pin))
	require.ErrorIs(t, err, os.ErrNotExist)
	h.eventually(func() bool {
		now := programIDs(t)
		return !slices.ContainsFunc(programs, func(id ebpf.ProgramID) bool { return slices.Contains(now, id) })
	}, "programs gone")
	h.eventually(func() bool {
		now := linkIDs(t)
		return !slices.ContainsFunc(links, func(id link.ID) bool { return slices.Contains(now, id) })
	}, "links gone")
	x, err := readXDP(foreign.Index)
	require.NoError(t, err)
	require.Equal(t, programID(fw.Program), x.native)

	removed, err = detachAll(string(h.pin))
	require.NoError(t, err)
	require.Empty(t, removed)
}

// What else is in the folder stays, and so does the folder.
func TestDetachAllLeavesOthersPins(t *testing.T) {
	h := newHost(t)
	require.NoError(t, h.pin.prepare())
	require.NoError(t, h.pin.pinProgram("theirs", h.xdp("foreign", xdpPass).Program))
	a := h.attach(h.veth("eth0", 1500), ModeTC, h.programs(), attachOptions{pin: h.pin})
	require.NoError(t, a.leave())
	_, err := detachAll(string(h.pin))
	require.NoError(t, err)
	require.Equal(t, []string{"theirs"}, h.pins())
}

// An agent in another namespace is none of ours to detach, even where its interface has the index of one of ours.
func TestDetachAllIsOfOneNamespace(t *testing.T) {
	h := newHost(t)
	var ifc Interface
	var a *attachment
	h.at(func() {
		ifc = h.add(&netlink.Bridge{LinkAttrs: named("br0")})
		a = h.attach(ifc, ModeTC, h.programs(), attachOptions{})
	})
	here := h.add(&netlink.Bridge{LinkAttrs: func() netlink.LinkAttrs { l := named("br0"); l.Index = ifc.Index; return l }()})
	require.Equal(t, ifc.Index, here.Index)
	_, err := detachAll(string(h.pin))
	require.NoError(t, err)
	h.at(func() { require.NoError(t, a.lost()) })
}

func TestWithoutRights(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	p := h.programs()
	require.NoError(t, h.pin.prepare())
	h.dropCapabilities()
	// With the program at hand recent kernels ask for no more to attach it by a link; a filter needs rights on all.
	o := attachOptions{pin: h.pin, noTCX: true}
	_, err := attach(context.Background(), ifc, ModeTC, p.set(), o)
	require.ErrorIs(t, err, ErrStep)
	require.ErrorIs(t, err, unix.EPERM)
	a, err := attach(context.Background(), ifc, ModeAuto, p.set(), o)
	require.NoError(t, err)
	require.Greater(t, a.Step, StepTC)
	require.Contains(t, a.Reasons[1].Why, "CAP_NET_ADMIN")
	require.NoError(t, a.leave())
}

// dropCapabilities takes all rights from the test's thread, until the test ends.
func (h *host) dropCapabilities() {
	h.t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var full, none [2]unix.CapUserData
	require.NoError(h.t, unix.Capget(&header, &full[0]))
	none = full
	none[0].Effective, none[1].Effective = 0, 0
	require.NoError(h.t, unix.Capset(&header, &none[0]))
	h.t.Cleanup(func() { require.NoError(h.t, unix.Capset(&header, &full[0])) })
}

// The link is waited for, and not for ever.
func TestAwaitCarrier(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	peer := func(up bool) {
		h.at(func() {
			if up {
				h.up("eth0")
			} else {
				require.NoError(t, netlink.LinkSetDown(h.link("eth0")))
			}
		})
	}
	ctx := context.Background()
	require.NoError(t, awaitCarrier(ctx, ifc, 5*time.Second))
	peer(false)
	start := time.Now()
	require.ErrorContains(t, awaitCarrier(ctx, ifc, 200*time.Millisecond), "carrier of eth0 is not back after 200ms")
	require.GreaterOrEqual(t, time.Since(start), 200*time.Millisecond)
	peer(true)
	require.NoError(t, awaitCarrier(ctx, ifc, 5*time.Second))
	require.NoError(t, netlink.LinkDel(h.link("eth0")))
	require.ErrorIs(t, awaitCarrier(ctx, ifc, 5*time.Second), ErrNoInterface)
}
