package collector

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/frame"
)

type neighbourKey struct {
	ifIndex int
	addr    netip.Addr
}

// A neighbour is what the kernel's table says of one.
type neighbour struct {
	mac     frame.MAC
	valid   bool
	fixed   bool // permanent, or of a device that asks for none: not ours to confirm
	managed bool // the kernel confirms it
	fresh   bool // confirmed lately
}

// inUse are the neighbours that some destination goes by.
func (n *nextHops) inUse() map[neighbourKey]bool {
	used := map[neighbourKey]bool{}
	for _, h := range n.hops {
		used[h.via] = true
	}
	return used
}

// release gives the neighbours that are not among those back to the kernel.
func (n *nextHops) release(used map[neighbourKey]bool) {
	for key, state := range n.neighbours {
		if used[key] {
			continue
		}
		delete(n.neighbours, key)
		if state.managed && state.valid {
			_ = n.ask(key, 0) // if it is gone already, so much the better
		}
	}
}

// heard takes in what happened to a neighbour.
func (n *nextHops) heard(x *netlink.Neigh, deleted bool) {
	key := keyOfNeighbour(x)
	n.mu.Lock()
	defer n.mu.Unlock()
	state := n.neighbours[key]
	if state == nil {
		return
	}
	if *state = stateOf(x); deleted {
		*state = neighbour{}
	}
	if !state.valid {
		n.confirmOne(key, state)
	}
	for _, h := range n.hops {
		if h.via == key {
			n.publish(h)
		}
	}
}

func keyOfNeighbour(x *netlink.Neigh) neighbourKey {
	a, _ := netip.AddrFromSlice(x.IP)
	return neighbourKey{x.LinkIndex, a.Unmap()}
}

func stateOf(x *netlink.Neigh) (s neighbour) {
	const fixed = netlink.NUD_PERMANENT | netlink.NUD_NOARP
	const valid = fixed | netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
	s.valid = x.State&valid != 0 && len(x.HardwareAddr) == len(s.mac)
	s.fixed = x.State&fixed != 0
	s.managed = x.FlagsExt&netlink.NTF_EXT_MANAGED != 0
	s.fresh = x.State&(netlink.NUD_REACHABLE|netlink.NUD_DELAY|netlink.NUD_PROBE) != 0
	copy(s.mac[:], x.HardwareAddr)
	return s
}

// readNeighbours takes over the kernel's table, and returns those that cannot be used.
func (n *nextHops) readNeighbours() (invalid []neighbourKey) {
	handle, err := n.netlink()
	if err != nil {
		return nil
	}
	list, err := handle.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	there := make(map[neighbourKey]neighbour, len(n.neighbours))
	for i := range list {
		if key := keyOfNeighbour(&list[i]); n.neighbours[key] != nil {
			there[key] = stateOf(&list[i])
		}
	}
	for key, state := range n.neighbours {
		if *state = there[key]; !state.valid {
			invalid = append(invalid, key)
		}
	}
	return invalid
}

// confirm keeps the neighbours that are in use alive, and asks for those that are not there.
func (n *nextHops) confirm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, state := range n.neighbours {
		n.confirmOne(key, state)
	}
}

func (n *nextHops) confirmOne(key neighbourKey, s *neighbour) {
	if s.fixed || s.valid && (s.managed || s.fresh) {
		return
	}
	// Whatever the reason is that it cannot be asked for, it shows as no neighbour.
	_ = n.ask(key, n.keep)
}

// ask has the kernel look for a neighbour, as if a packet went there, and with
// NTF_EXT_MANAGED go on doing so by itself (Linux 5.16; older ones ignore it). Entries that
// are permanent must not be asked for: they would be so no longer.
func (n *nextHops) ask(key neighbourKey, ext int) error {
	handle, err := n.netlink()
	if err != nil {
		return err
	}
	err = handle.NeighSet(&netlink.Neigh{
		LinkIndex: key.ifIndex, Family: familyOf(key.addr), IP: key.addr.AsSlice(), Flags: netlink.NTF_USE, FlagsExt: ext,
	})
	if err != nil {
		return fmt.Errorf("ask for neighbour %s: %w", key.addr, err)
	}
	return nil
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// meet is the first look at a neighbour.
func (n *nextHops) meet(key neighbourKey) *neighbour {
	s := &neighbour{}
	if handle, err := n.netlink(); err == nil {
		list, _ := handle.NeighList(key.ifIndex, familyOf(key.addr))
		for i := range list {
			if keyOfNeighbour(&list[i]) == key {
				*s = stateOf(&list[i])
			}
		}
	}
	n.confirmOne(key, s)
	return s
}
