//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// EventKind is what happened to an interface.
type EventKind uint8

// The kinds of events.
const (
	EventAppeared EventKind = iota + 1
	EventVanished
	EventChanged // name, MTU, MAC, master or carrier: Before says from what
	EventLost    // our program is no longer on it: told again at each look until it is attached or forgotten
)

func (k EventKind) String() string {
	switch k {
	case EventAppeared:
		return "appeared"
	case EventVanished:
		return "vanished"
	case EventChanged:
		return "changed"
	case EventLost:
		return "program lost"
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event tells of one interface. Driver is not filled in.
type Event struct {
	Kind      EventKind
	Interface Interface
	Before    Interface // of EventChanged
	Err       error     // of EventLost: what became of the program
}

// watcher tells of changes to the interfaces of a namespace. The kernel tells of interfaces, but not of links that
// are detached or programs that are exchanged: for those the attachments are asked, at every event of their
// interface and now and then.
type watcher struct {
	every    time.Duration
	attached func() map[int]func() error // by interface index: nil as long as the program is there
	notify   func(Event)

	socket *nl.NetlinkSocket
	known  map[int]Interface
	stale  bool // messages were lost, and known has not caught up
}

// watch opens a watcher in the namespace of the caller's thread and takes stock. Nothing that happens from then on
// is missed. Its run calls notify and attached, both from the goroutine that it runs on.
func watch(every time.Duration, attached func() map[int]func() error, notify func(Event)) (*watcher, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	w := &watcher{every: every, attached: attached, notify: notify, socket: s}
	if w.known, err = listInterfaces(); err != nil {
		s.Close()
		return nil, err
	}
	return w, nil
}

func listInterfaces() (map[int]Interface, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	known := make(map[int]Interface, len(links))
	for _, l := range links {
		known[l.Attrs().Index] = fromLink(l)
	}
	return known, nil
}

// run returns when ctx ends, and then closes the watcher.
func (w *watcher) run(ctx context.Context) error {
	messages := make(chan linkMessage, 64)
	ctx, cancel := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(messages)
		w.receive(ctx, messages)
	})
	defer func() {
		cancel()
		w.socket.Close()
		reader.Wait()
	}()
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-messages:
			if !ok {
				return fmt.Errorf("watch interfaces: %w", os.ErrClosed)
			}
			if m.err != nil {
				return fmt.Errorf("watch interfaces: %w", m.err)
			}
			w.take(m)
		case <-tick.C:
			w.checkAll()
		}
	}
}

// linkMessage is what the kernel said of one interface.
type linkMessage struct {
	ifc  Interface
	gone bool
	lost bool  // messages were lost before this one, which is empty
	err  error // nothing will follow
}

// receive reads until the socket is closed.
func (w *watcher) receive(ctx context.Context, out chan<- linkMessage) {
	send := func(m linkMessage) bool {
		select {
		case out <- m:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		messages, from, err := w.socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			if !send(linkMessage{lost: true}) {
				return
			}
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			send(linkMessage{err: err})
			return
		case from.Pid != nl.PidKernel:
			continue
		}
		for _, m := range messages {
			if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
				continue
			}
			header := unix.NlMsghdr(m.Header)
			l, err := netlink.LinkDeserialize(&header, m.Data)
			if err != nil || isBridgeMessage(m.Data) {
				continue
			}
			if !send(linkMessage{ifc: fromLink(l), gone: m.Header.Type == unix.RTM_DELLINK}) {
				return
			}
		}
	}
}

// isBridgeMessage tells what a bridge says of its port from what the interface itself is: a port that leaves its
// bridge is not an interface that goes.
func isBridgeMessage(data []byte) bool { return len(data) > 0 && data[0] == unix.AF_BRIDGE }

func (w *watcher) take(m linkMessage) {
	if m.lost {
		w.stale = true
		w.resync()
		return
	}
	before, known := w.known[m.ifc.Index]
	switch {
	case m.gone && known:
		delete(w.known, m.ifc.Index)
		w.notify(Event{Kind: EventVanished, Interface: before})
	case m.gone:
	case !known:
		w.known[m.ifc.Index] = m.ifc
		w.notify(Event{Kind: EventAppeared, Interface: m.ifc})
	default:
		w.known[m.ifc.Index] = m.ifc
		if changed(before, m.ifc) {
			w.notify(Event{Kind: EventChanged, Interface: m.ifc, Before: before})
		}
		w.check(m.ifc.Index)
	}
}

func changed(a, b Interface) bool {
	return a.Name != b.Name || a.MTU != b.MTU || a.Master != b.Master || a.Carrier != b.Carrier || a.Up != b.Up ||
		!slices.Equal(a.MAC, b.MAC)
}

// resync compares all interfaces with what is known, after messages were lost.
func (w *watcher) resync() {
	now, err := listInterfaces()
	if err != nil {
		return // the next tick tries again
	}
	w.stale = false
	for index, ifc := range w.known {
		if _, still := now[index]; !still {
			w.take(linkMessage{ifc: ifc, gone: true})
		}
	}
	for _, ifc := range now {
		w.take(linkMessage{ifc: ifc})
	}
}

func (w *watcher) checkAll() {
	if w.stale {
		w.resync()
	}
	for index := range w.attached() {
		w.check(index)
	}
}

// check asks the attachment of an interface whether its program is still there.
func (w *watcher) check(index int) {
	lost := w.attached()[index]
	if lost == nil {
		return
	}
	ifc, known := w.known[index]
	if !known {
		return // it vanished, and that was told
	}
	if err := lost(); errors.Is(err, ErrLost) {
		w.notify(Event{Kind: EventLost, Interface: ifc, Err: err})
	}
}
