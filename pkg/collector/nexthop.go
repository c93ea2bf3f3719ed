package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/frame"
)

// A nextHop is how frames reach a destination. It stays the same value for as long as
// anything is sent there; what it says changes with routes, addresses and neighbours.
type nextHop struct {
	dst netip.Addr
	now atomic.Pointer[hop] // never nil

	via neighbourKey // where it goes; the rest of nextHops.mu's
	hop hop          // less what the neighbour says
}

// A hop is one state of a nextHop, which does not change.
type hop struct {
	ifIndex     int
	source      netip.Addr
	srcMAC      frame.MAC
	dstMAC      frame.MAC
	unsuitable  string // why frames cannot be had there, but sockets can; "" if they can
	blocked     bool   // nothing can be sent there now,
	blockReason reason // for that reason
}

// nextHops follows the next hops of all destinations by netlink's messages. The stack
// confirms no neighbour for us, since it does not know of our frames: what is in use is
// kept alive here.
type nextHops struct {
	covers  func(ifIndex int) bool // measured in the kernel there
	sources []netip.Addr           // that frames have to leave from, at most one a family
	device  string                 // that they have to leave by; "": any
	moved   func()                 // told when a destination is reached by another interface
	keep    int                    // flags by which the kernel confirms neighbours by itself
	log     *slog.Logger

	mu         sync.Mutex // protects the fields below, and nextHop's
	handle     *netlink.Handle
	hops       map[netip.Addr]*nextHop
	neighbours map[neighbourKey]*neighbour // of them
	links      map[int]linkState           // nil: to be read
	local      map[netip.Addr]bool         // likewise
	at         *device                     // likewise
}

type linkState struct {
	mac        frame.MAC
	unsuitable string
}

const (
	// What changes comes in bursts of messages: one look for each, and no more than a
	// tenth of the time is spent on looking, whatever routes do.
	hopSettle   = 50 * time.Millisecond
	hopIdleness = 10
	// Neighbours that need it are asked for that often.
	confirmEvery = time.Second
)

func newNextHops(covers func(int) bool, sources []netip.Addr, device string, moved func(), log *slog.Logger) *nextHops {
	return &nextHops{
		covers: covers, sources: sources, device: device, moved: moved, keep: netlink.NTF_EXT_MANAGED, log: log,
		hops: map[netip.Addr]*nextHop{}, neighbours: map[neighbourKey]*neighbour{},
	}
}

// of returns the next hop to a destination; the same one until retain lets go of it.
func (n *nextHops) of(dst netip.Addr) *nextHop {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hops[dst]
	if h == nil {
		h = &nextHop{dst: dst}
		n.hops[dst] = h
		n.look(h)
	}
	return h
}

// retain lets go of all destinations but those.
func (n *nextHops) retain(wanted map[netip.Addr]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for dst := range n.hops {
		if !wanted[dst] {
			delete(n.hops, dst)
		}
	}
	n.release(n.inUse())
}

// run follows what changes until ctx ends. That it cannot is logged, and every look-up of
// the targets still finds what changed.
func (n *nextHops) run(ctx context.Context) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_NEIGH, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		n.log.Error("next hops are not followed", "error", err)
		return
	}
	woken := make(chan struct{}, 1)
	var listening sync.WaitGroup
	listening.Go(func() { n.listen(ctx, s, woken) })
	stop := context.AfterFunc(ctx, s.Close) // ends Receive
	defer listening.Wait()
	defer stop()
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	n.refresh() // what changed before we listened
	for {
		select {
		case <-ctx.Done():
			s.Close()
			n.mu.Lock()
			n.release(nil)
			n.mu.Unlock()
			return
		case <-tick.C:
			n.confirm()
		case <-woken:
			rest(ctx, hopSettle)
			rest(ctx, min(hopIdleness*n.refresh(), time.Second))
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (n *nextHops) listen(ctx context.Context, s *nl.NetlinkSocket, woken chan<- struct{}) {
	wake := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	for {
		messages, _, err := s.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS): // some were lost: that is news too
			wake()
		case errors.Is(err, unix.EINTR):
		case err != nil:
			n.log.Error("next hops are no longer followed", "error", err)
			return
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
				if x, err := netlink.NeighDeserialize(m.Data); err == nil {
					n.heard(x, m.Header.Type == unix.RTM_DELNEIGH)
				}
			default:
				wake()
			}
		}
	}
}

// refresh looks everything up anew.
func (n *nextHops) refresh() (took time.Duration) {
	begun := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links, n.local, n.at = nil, nil, nil
	for _, key := range n.readNeighbours() {
		n.confirmOne(key, n.neighbours[key])
	}
	moved := false
	for _, h := range n.hops {
		before := h.now.Load().ifIndex
		n.look(h)
		now := h.now.Load().ifIndex
		moved = moved || now != 0 && now != before
	}
	n.release(n.inUse())
	if moved {
		n.moved()
	}
	return time.Since(begun)
}

func (n *nextHops) netlink() (*netlink.Handle, error) {
	if n.handle == nil {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return nil, fmt.Errorf("open netlink: %w", err)
		}
		n.handle = h
	}
	return n.handle, nil
}

// close comes last.
func (n *nextHops) close() {
	if n != nil && n.handle != nil {
		n.handle.Close()
	}
}

// look finds the way to a destination.
func (n *nextHops) look(h *nextHop) {
	h.via, h.hop = neighbourKey{}, hop{}
	route, why := n.route(h.dst)
	if route == nil {
		h.hop.blocked, h.hop.blockReason = true, why
		n.publish(h)
		return
	}
	h.hop.ifIndex = route.LinkIndex
	link := n.link(route.LinkIndex)
	h.hop.srcMAC, h.hop.unsuitable = link.mac, link.unsuitable
	if h.hop.unsuitable == "" && !n.covers(route.LinkIndex) {
		h.hop.unsuitable = "the kernel does not measure on its interface"
	}
	if src, ok := netip.AddrFromSlice(route.Src); ok {
		h.hop.source = src.Unmap()
	}
	if !n.isLocal(h.hop.source) {
		h.hop.blocked, h.hop.blockReason = true, reasonNoSource
	}
	if h.hop.unsuitable == "" {
		h.via = neighbourKey{route.LinkIndex, gatewayOf(route, h.dst)}
		if n.neighbours[h.via] == nil {
			n.neighbours[h.via] = n.meet(h.via)
		}
	}
	n.publish(h)
}

// route asks the kernel, as a socket would.
func (n *nextHops) route(dst netip.Addr) (*netlink.Route, reason) {
	handle, err := n.netlink()
	if err != nil {
		return nil, reasonOther
	}
	source := sourceOf(n.sources, dst.Is6())
	if source.IsValid() && !n.isLocal(source) {
		return nil, reasonNoSource
	}
	if n.at == nil {
		at := deviceNamed(handle, n.device)
		n.at = &at
	}
	if n.device != "" && n.at.index == 0 {
		return nil, reasonLinkDown
	}
	route, err := n.at.routeTo(handle, dst, source)
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return nil, reasonOf(errno)
	case err != nil:
		return nil, reasonNoRoute
	}
	if source.IsValid() {
		route.Src = source.AsSlice()
	}
	return route, 0
}

// gatewayOf is whose MAC address is needed. That of an IPv4 route may be an IPv6 address (RFC 5549).
func gatewayOf(r *netlink.Route, dst netip.Addr) netip.Addr {
	if via, ok := r.Via.(*netlink.Via); ok {
		if a, ok := netip.AddrFromSlice(via.Addr); ok {
			return a
		}
	}
	if a, ok := netip.AddrFromSlice(r.Gw); ok && !a.IsUnspecified() {
		return a.Unmap()
	}
	return dst
}

func (n *nextHops) link(ifIndex int) linkState {
	if n.links == nil {
		n.links = map[int]linkState{}
	}
	if s, ok := n.links[ifIndex]; ok {
		return s
	}
	s := linkState{unsuitable: "its interface is not known"}
	handle, err := n.netlink()
	if err != nil {
		return s
	}
	if l, err := handle.LinkByIndex(ifIndex); err == nil {
		a := l.Attrs()
		s.unsuitable = ""
		copy(s.mac[:], a.HardwareAddr)
		switch {
		case a.RawFlags&unix.IFF_LOOPBACK != 0:
			s.unsuitable = "it is reached over loopback"
		case a.EncapType != "ether" || a.RawFlags&unix.IFF_NOARP != 0 || len(a.HardwareAddr) != len(s.mac):
			s.unsuitable = "its interface is no Ethernet with neighbours"
		}
	}
	n.links[ifIndex] = s
	return s
}

// isLocal says whether packets may leave from an address now.
func (n *nextHops) isLocal(a netip.Addr) bool {
	if n.local == nil {
		handle, err := n.netlink()
		if err != nil {
			return false
		}
		list, err := handle.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return false
		}
		n.local = make(map[netip.Addr]bool, len(list))
		for _, x := range list {
			if ip, ok := netip.AddrFromSlice(x.IP); ok && x.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				n.local[ip.Unmap()] = true
			}
		}
	}
	return n.local[a]
}

// publish says how things are, if that is new.
func (n *nextHops) publish(h *nextHop) {
	now := h.hop
	if s := n.neighbours[h.via]; s != nil && !now.blocked {
		now.dstMAC = s.mac
		if !s.valid {
			now.blocked, now.blockReason = true, reasonNoNeighbour
		}
	}
	if before := h.now.Load(); before == nil || *before != now {
		h.now.Store(&now)
	}
}
