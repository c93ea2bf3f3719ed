//go:build linux

package loader

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (h *host) pins() []string {
	h.t.Helper()
	names, err := h.pin.names("")
	require.NoError(h.t, err)
	return names
}

func (h *host) rename(from, to string) {
	h.t.Helper()
	l := h.link(from)
	require.NoError(h.t, netlink.LinkSetDown(l))
	require.NoError(h.t, netlink.LinkSetName(l, to))
	h.up(to)
}

// A folder that was made for us in one of somebody else stays, and that is no fault.
func TestPinFolderInOneOfAnother(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	f := pinFolder(filepath.Join(dir, "llama"))
	require.NoError(t, os.Mkdir(string(f), 0o700))
	require.NoError(t, os.WriteFile(f.path(mapPrefix+"x"), nil, 0o600))
	require.NoError(t, os.Chown(dir, 65534, 65534))
	h.dropCapabilities()
	removed, err := f.removePins()
	require.NoError(t, err)
	require.Len(t, removed, 1)
	require.DirExists(t, string(f))
}

// An interface that comes back under its name is another one: what is pinned for the first is stale.
func TestPinOfAnInterfaceThatWasMadeAnew(t *testing.T) {
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			o := h.everyWay()[way]
			a := h.attach(h.veth("eth0", 1500), modeOf(way), h.programs(), o)
			old := h.linkID(a)
			require.NoError(t, a.leave())
			require.NotEmpty(t, h.pins())
			require.NoError(t, netlink.LinkDel(h.link("eth0")))
			h.at(func() {
				_, err := netlink.LinkByName("eth0")
				require.Error(t, err)
			})

			ifc := h.veth("eth0", 1500)
			if way == "clsact" { // somebody's, and the mark says it was ours
				require.NoError(t, netlink.QdiscAdd(clsact(ifc.Index)))
			}
			p := h.programs()
			b := h.attach(ifc, modeOf(way), p, o)
			if old != 0 {
				require.NotEqual(t, old, h.linkID(b))
				require.Len(t, h.pins(), 1)
			}
			h.send(ifc, 3)
			h.eventually(func() bool { return p.counts() == onlyStep(b.Step, 3) }, "count")
			require.NoError(t, b.detach())
			require.Empty(t, h.pins())
			if way == "clsact" {
				require.Equal(t, []string{"clsact"}, h.qdiscs(ifc), "a qdisc of somebody else was removed")
			}
		})
	}
}

// Two interfaces exchange their names while no agent runs. What counts is the index.
func TestPinsFollowTheIndex(t *testing.T) {
	h := newHost(t)
	o := attachOptions{pin: h.pin}
	for _, m := range []Mode{ModeNative, ModeTC} {
		h.veth("a0", 1500)
		h.veth("b0", 1500)
		ids := make(map[int]link.ID)
		for _, name := range []string{"a0", "b0"} {
			ifc, err := interfaceByName(name)
			require.NoError(t, err)
			a := h.attach(ifc, m, h.programs(), o)
			ids[ifc.Index] = h.linkID(a)
			require.NoError(t, a.leave())
		}
		h.rename("a0", "x0")
		h.rename("b0", "a0")
		h.rename("x0", "b0")
		for _, name := range []string{"b0", "a0"} {
			ifc, err := interfaceByName(name)
			require.NoError(t, err)
			a := h.attach(ifc, m, h.programs(), o)
			require.Equal(t, ids[ifc.Index], h.linkID(a), name)
			if h.linkID(a) != 0 {
				require.ElementsMatch(t, []string{linkName("a0", a.Step), linkName("b0", a.Step)}, h.pins())
			}
			require.NoError(t, a.leave())
		}
		_, err := detachAll(string(h.pin))
		require.NoError(t, err)
		require.NoError(t, netlink.LinkDel(h.link("a0")))
		require.NoError(t, netlink.LinkDel(h.link("b0")))
	}
}

// A pin that says the interface's name, but is attached to another.
func TestPinOfAnotherIndex(t *testing.T) {
	h := newHost(t)
	other, ifc := h.veth("b0", 1500), h.veth("a0", 1500)
	o := attachOptions{pin: h.pin}
	p := h.programs()
	a := h.attach(other, ModeTC, p, o)
	l, ok := a.hook.(*linkHook)
	if !ok {
		require.Equal(t, "clsact", h.tcFlavor())
		return // filters are found on the interface, not by their pins
	}
	require.NoError(t, l.link.Pin(h.pin.path(linkName("a0", StepTC))))
	b := h.attach(ifc, ModeTC, h.programs(), o)
	require.NotEqual(t, h.linkID(a), h.linkID(b))
	require.ElementsMatch(t, []string{"link_a0_tc", "link_b0_tc"}, h.pins())
	require.NoError(t, a.lost())
	require.NoError(t, b.lost())
}

// A bpffs takes no dots, and VLAN devices are named with them.
func TestPinOfANameWithDots(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0.100", 1500)
	for _, way := range []string{"native", "tc", "clsact"} {
		o := h.everyWay()[way]
		a := h.attach(ifc, modeOf(way), h.programs(), o)
		id := h.linkID(a)
		require.NoError(t, a.leave())
		b := h.attach(ifc, modeOf(way), h.programs(), o)
		require.Equal(t, id, h.linkID(b))
		require.NoError(t, b.detach())
		require.Empty(t, h.pins())
	}
	require.NotEqual(t, linkName("eth0.1", StepTC), linkName("eth0_1", StepTC))
}

func TestPinFolders(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	for _, folder := range []pinFolder{pinFolder(t.TempDir()), "/proc/llama"} {
		_, err := attach(context.Background(), ifc, ModeTC, h.programs().set(), attachOptions{pin: folder})
		require.ErrorIs(t, err, ErrPinFolder)
		require.ErrorIs(t, err, ErrStep)
		a := h.attach(ifc, ModeAuto, h.programs(), attachOptions{pin: folder})
		require.Equal(t, StepSocket, a.Step)
		require.Equal(t, []Step{StepNative, StepTC, StepGeneric}, steps(a.Reasons))
		if folder != "/proc/llama" {
			require.Contains(t, a.Reasons[1].Why, "mount -t bpf bpf /sys/fs/bpf")
		}
	}
	h.nothingOn(ifc)

	mount := filepath.Dir(string(h.pin))
	require.NoError(t, os.Mkdir(string(h.pin), 0o700))
	require.NoError(t, unix.Mount("", mount, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	o, _ := h.options(ModeTC, "eth0")
	_, err := Start(context.Background(), o)
	require.ErrorIs(t, err, ErrPinFolder)
	require.ErrorContains(t, err, "mounted read-only (mount -o remount,rw")
	require.NoError(t, unix.Mount("", mount, "", unix.MS_REMOUNT, ""))

	held, err := h.pin.hold()
	require.NoError(t, err)
	_, err = h.pin.hold()
	require.ErrorIs(t, err, ErrPinsHeld)
	require.NoError(t, held.Close())
	held, err = h.pin.hold()
	require.NoError(t, err)
	require.NoError(t, held.Close())
	st, err := os.Stat(string(h.pin))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), st.Mode().Perm())
}

// What is not a link of ours under a link's name is in the way, and is not removed.
func TestPinOfSomethingElse(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	require.NoError(t, h.pin.prepare())
	require.NoError(t, h.pin.pinProgram("link_eth0_tc", h.tc("foreign", tcUnspec).Program))
	a := h.attach(ifc, ModeAuto, h.programs(), attachOptions{pin: h.pin})
	require.Equal(t, StepSocket, a.Step)
	require.Contains(t, a.Reasons[1].Why, "link_eth0_tc")
	require.Equal(t, []string{"link_eth0_tc"}, h.pins())
}
