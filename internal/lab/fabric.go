//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
)

// fabricName is the fabric's name among the lab's namespaces.
const fabricName = "fabric"

// Fabric is the namespace that routes between the hosts, with a port p-<host> to each.
type Fabric struct {
	NS string // path of the namespace

	ns  *namespace
	lab *Lab

	mu     sync.Mutex // protects the fields below, and orders changes to the fabric's rules
	nextID int
	faults map[*Fault]struct{}
	taps   map[*Tap]struct{}
}

func newFabric(l *Lab) (*Fabric, error) {
	ns, err := newNamespace(l.id + "-" + fabricName)
	if err != nil {
		return nil, err
	}
	f := &Fabric{NS: ns.path, ns: ns, lab: l, faults: map[*Fault]struct{}{}, taps: map[*Tap]struct{}{}}
	if err := errors.Join(
		ns.sysctl(append(commonSysctls(l.opts), forwardSysctls(l.opts)...)),
		linkUp(ns.nl, "lo"),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("set up fabric: %w", err), ns.close())
	}
	return f, nil
}

// Do runs fn inside the fabric's namespace; see Host.Do.
func (f *Fabric) Do(fn func() error) error { return f.ns.do(fn) }

// Command prepares a process inside the fabric's namespace; see Host.Command.
func (f *Fabric) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return f.ns.command(ctx, name, args...)
}

// stopTaps ends the taps that are still on. What they saw is of no use to anyone by then.
func (f *Fabric) stopTaps() {
	f.mu.Lock()
	taps := slices.Collect(maps.Keys(f.taps))
	f.mu.Unlock()
	for _, t := range taps {
		_, _ = t.Stop()
	}
}

// Port returns the name of the fabric's interface to the host.
func (f *Fabric) Port(h *Host) string { return h.port }

// LinkDown takes the fabric's port to the host down: the host's interface loses its carrier.
func (f *Fabric) LinkDown(h *Host) error { return linkDown(f.ns.nl, h.port) }

// LinkUp undoes LinkDown, with addresses, neighbours and routes at both ends.
func (f *Fabric) LinkUp(h *Host) error { return h.configure() }

// portIndex returns the interface index of the port to h.
func (f *Fabric) portIndex(h *Host) (int, error) {
	if h.lab != f.lab {
		return 0, fmt.Errorf("find port of host %s: it is of another lab", h.Name)
	}
	link, err := f.ns.nl.LinkByName(h.port)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", h.port, err)
	}
	return link.Attrs().Index, nil
}

// Limit is a rate limit at the fabric's port to a host.
type Limit struct {
	fabric *Fabric
	host   *Host
	qdisc  *netlink.Tbf
}

// Rate limits what the fabric sends to the host by a token bucket (tbf): bits per second, a burst in
// octets (at least the largest frame), and a queue of limit octets, beyond which packets are dropped.
// A second Rate to the same host replaces the first.
func (f *Fabric) Rate(to *Host, bitsPerSecond uint64, burst, limit uint32) (*Limit, error) {
	index, err := f.portIndex(to)
	if err != nil {
		return nil, err
	}
	rate := bitsPerSecond / 8
	if rate == 0 {
		return nil, fmt.Errorf("limit rate to %s: %d bit/s is below one octet a second", to.Name, bitsPerSecond)
	}
	tbf := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate,
		Limit:      limit,
		Buffer:     netlink.Xmittime(rate, burst),
	}
	if err := f.ns.nl.QdiscReplace(tbf); err != nil {
		return nil, fmt.Errorf("limit rate to %s: %w", to.Name, err)
	}
	return &Limit{fabric: f, host: to, qdisc: tbf}, nil
}

// Dropped returns how many packets the queue had no room for. IPv6 housekeeping (multicast listener
// reports) is among them unless the lab is IPv4Only.
func (l *Limit) Dropped() (uint64, error) {
	qdiscs, err := l.fabric.ns.nl.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: l.qdisc.LinkIndex}})
	if err != nil {
		return 0, fmt.Errorf("list qdiscs of %s: %w", l.host.port, err)
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_ROOT && q.Type() == "tbf" && q.Attrs().Statistics != nil {
			return uint64(q.Attrs().Statistics.Queue.Drops), nil
		}
	}
	return 0, fmt.Errorf("read rate limit of %s: none there", l.host.port)
}

// Remove takes the limit away.
func (l *Limit) Remove() error {
	if err := l.fabric.ns.nl.QdiscDel(l.qdisc); err != nil {
		return fmt.Errorf("remove rate limit to %s: %w", l.host.Name, err)
	}
	return nil
}
