//go:build linux

package loader

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// watched collects the events of the host's namespace.
type watched struct {
	h *host

	mu     sync.Mutex // protects what follows
	events []Event
	lost   map[int]func() error
}

func (h *host) watch(every time.Duration) *watched {
	h.t.Helper()
	w := &watched{h: h, lost: make(map[int]func() error)}
	own, err := netns.GetFromPath("/proc/thread-self/ns/net")
	require.NoError(h.t, err)
	attached := func() map[int]func() error { w.mu.Lock(); defer w.mu.Unlock(); return w.lost }
	notify := func(e Event) { w.mu.Lock(); defer w.mu.Unlock(); w.events = append(w.events, e) }
	watcher, err := watch(every, attached, notify)
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		defer own.Close()
		lockIn(own)
		done <- watcher.run(ctx)
	}()
	h.t.Cleanup(func() {
		cancel()
		require.NoError(h.t, <-done)
	})
	return w
}

func (w *watched) seen(match func(Event) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.events, match)
}

func (w *watched) await(what string, match func(Event) bool) {
	w.h.t.Helper()
	w.h.eventually(func() bool { return w.seen(match) }, what)
}

func TestWatchInterfaces(t *testing.T) {
	h := newHost(t)
	h.veth("old0", 1500)
	w := h.watch(time.Hour)
	ifc := h.veth("eth0", 1500)
	w.await("appearance", func(e Event) bool {
		return e.Kind == EventAppeared && e.Interface.Index == ifc.Index && e.Interface.Name == "eth0" && e.Interface.Kind == "veth"
	})
	change := func(what string, match func(Event) bool) {
		t.Helper()
		w.await(what, func(e Event) bool { return e.Kind == EventChanged && e.Interface.Index == ifc.Index && match(e) })
	}
	change("carrier", func(e Event) bool { return e.Interface.Carrier && !e.Before.Carrier })
	require.NoError(t, netlink.LinkSetMTU(h.link("eth0"), 9000))
	change("MTU", func(e Event) bool { return e.Before.MTU == 1500 && e.Interface.MTU == 9000 })
	require.NoError(t, netlink.LinkSetHardwareAddr(h.link("eth0"), net.HardwareAddr{2, 0, 0, 0, 0, 9}))
	change("MAC", func(e Event) bool { return e.Interface.MAC.String() == "02:00:00:00:00:09" })
	h.rename("eth0", "lan0")
	change("name", func(e Event) bool { return e.Before.Name == "eth0" && e.Interface.Name == "lan0" })
	br := h.add(&netlink.Bridge{LinkAttrs: named("br0")})
	require.NoError(t, netlink.LinkSetMasterByIndex(h.link("lan0"), br.Index))
	change("master", func(e Event) bool { return e.Interface.Master == br.Index })
	require.NoError(t, netlink.LinkSetNoMaster(h.link("lan0")))
	change("no master", func(e Event) bool { return e.Before.Master == br.Index && e.Interface.Master == 0 })
	require.False(t, w.seen(func(e Event) bool { return e.Kind == EventVanished }), "a port that leaves its bridge is not gone")
	require.NoError(t, netlink.LinkDel(h.link("lan0")))
	w.await("end", func(e Event) bool {
		return e.Kind == EventVanished && e.Interface.Index == ifc.Index && e.Interface.Name == "lan0"
	})
	require.False(t, w.seen(func(e Event) bool { return e.Interface.Name == "old0" }))
	require.False(t, w.seen(func(e Event) bool { return e.Kind == EventLost }))
}

func TestWatchPrograms(t *testing.T) {
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			a := h.attach(ifc, modeOf(way), h.programs(), h.everyWay()[way])
			w := h.watch(20 * time.Millisecond)
			w.mu.Lock()
			w.lost = map[int]func() error{ifc.Index: a.lost}
			w.mu.Unlock()
			time.Sleep(60 * time.Millisecond)
			require.False(t, w.seen(func(e Event) bool { return e.Kind == EventLost }))
			switch x := a.hook.(type) {
			case *linkHook:
				require.NoError(t, x.link.Detach())
			case *clsactHook:
				require.NoError(t, netlink.FilterDel(x.filter))
			}
			w.await("loss", func(e Event) bool {
				return e.Kind == EventLost && e.Interface.Name == "eth0" && e.Err != nil
			})
		})
	}
}

// Messages that the socket had no room for are made up for by looking at all interfaces.
func TestWatchAfterLostMessages(t *testing.T) {
	h := newHost(t)
	h.veth("gone0", 1500)
	h.veth("stays0", 1500)
	var events []Event
	w, err := watch(time.Hour, func() map[int]func() error { return nil }, func(e Event) { events = append(events, e) })
	require.NoError(t, err)
	defer w.socket.Close()
	require.NoError(t, netlink.LinkDel(h.link("gone0")))
	h.veth("new0", 1500)
	require.NoError(t, netlink.LinkSetMTU(h.link("stays0"), 1400))
	w.take(linkMessage{lost: true})
	var got []string
	for _, e := range events {
		got = append(got, e.Interface.Name+" "+e.Kind.String())
	}
	require.ElementsMatch(t, []string{"gone0 vanished", "new0 appeared", "stays0 changed"}, got)
}
