package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// TargetState is what is known of a target's name and address.
type TargetState struct {
	Name      string
	Addresses []netip.Addr
	Err       error // why it is not probed; nil if it is
}

var (
	errNotAllowed = errors.New("address is outside probing.allow")
	errThisHost   = errors.New("target is this host")
	errPending    = errors.New("name was not looked up yet")
	errNoAddress  = errors.New("name has no address of the wanted family")
	errFull       = errors.New("other targets at this address have its max_rate_per_target")
)

const (
	resolveTimeout = 5 * time.Second
	resolveAtOnce  = 16
)

// lookup is net.Resolver.LookupNetIP; tests give other answers.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A resolver keeps an address for each target for as long as it is in the answer.
type resolver struct {
	lookup lookup
	family Family
	self   bool
	host   string
	allow  func(netip.Addr) bool
	covers func(ifIndex int) bool  // nil: none
	most   int                     // targets at one address; 0: no bound
	hops   *nextHops               // nil: no frames are sent
	kept   map[string][]netip.Addr // by name looked up

	sources []netip.Addr
	device  string // "": any
	now     device // the same, as it was at the last look
}

// resolve answers for all targets; one that fails harms no other. Names already
// answered keep their addresses while a lookup fails.
func (r *resolver) resolve(ctx context.Context, targets []probe.Target, namesToo bool) ([]endpoint, []TargetState) {
	states := make([]TargetState, len(targets))
	var g errgroup.Group
	g.SetLimit(resolveAtOnce)
	for i := range targets {
		t := &targets[i]
		states[i].Name = t.Name
		if a, err := netip.ParseAddr(t.Address); err == nil {
			states[i].Addresses = []netip.Addr{a.Unmap()}
			continue
		}
		states[i].Addresses = r.kept[t.Address]
		if !namesToo {
			if len(states[i].Addresses) == 0 {
				states[i].Err = errPending
			}
			continue
		}
		g.Go(func() error {
			states[i].Addresses, states[i].Err = r.ask(ctx, t)
			return nil
		})
	}
	_ = g.Wait()
	local := localAddresses()
	r.now = deviceNamed(&netlink.Handle{}, r.device)
	kept := make(map[string][]netip.Addr, len(targets))
	var out []endpoint
	stamps := map[int]bool{} // by interface index
	framed := map[netip.Addr]bool{}
	at := map[netip.Addr]int{} // targets
	if r.hops != nil {
		r.hops.refresh() // what the kernel covers may have changed
	}
	for i := range targets {
		t, s := &targets[i], &states[i]
		kept[t.Address] = s.Addresses
		if s.Err != nil && len(s.Addresses) == 0 {
			continue
		}
		if s.Err = cmp.Or(r.check(t, s.Addresses, local), r.full(at, s.Addresses)); s.Err != nil {
			continue
		}
		for _, a := range s.Addresses {
			way := r.routeTo(a)
			if _, known := stamps[way.ifIndex]; !known {
				stamps[way.ifIndex] = txStamps(way.ifIndex)
			}
			way.stamps = stamps[way.ifIndex]
			way.kernel = r.covers != nil && r.covers(way.ifIndex)
			if r.hops != nil {
				way.next, way.noFrames = r.nextHop(t, a)
				framed[a] = way.next != nil
			}
			out = append(out, endpoint{target: t, addr: netip.AddrPortFrom(a, t.Port), route: way})
		}
	}
	r.kept = kept
	if r.hops != nil {
		r.hops.retain(framed)
	}
	return out, states
}

// nextHop is where frames to a target go; nil, and why, if none are to be sent.
func (r *resolver) nextHop(t *probe.Target, a netip.Addr) (*nextHop, string) {
	switch {
	case t.Key != nil:
		return nil, "they are authenticated"
	case a.IsLoopback():
		return nil, "it is reached over loopback"
	case a.IsLinkLocalUnicast():
		return nil, "its address is link-local"
	}
	return r.hops.of(a), ""
}

func (r *resolver) ask(ctx context.Context, t *probe.Target) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	network := map[Family]string{Family4: "ip4", Family6: "ip6"}[r.family]
	if network == "" {
		network = "ip"
	}
	answer, err := r.lookup(ctx, network, t.Address)
	if err != nil {
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound {
			return nil, fmt.Errorf("resolve %q: %w", t.Address, err)
		}
		return r.kept[t.Address], fmt.Errorf("resolve %q: %w", t.Address, err)
	}
	return r.choose(answer, r.kept[t.Address]), nil
}

// choose takes one address, or one of each family; the one in use if it is still there.
func (r *resolver) choose(answer, inUse []netip.Addr) []netip.Addr {
	var out []netip.Addr
	pick := func(ok func(netip.Addr) bool) {
		best := netip.Addr{}
		for _, a := range answer {
			a = a.Unmap()
			if ok(a) && (!best.IsValid() || slices.Contains(inUse, a)) {
				best = a
			}
		}
		if best.IsValid() {
			out = append(out, best)
		}
	}
	switch r.family {
	case Family4:
		pick(netip.Addr.Is4)
	case Family6:
		pick(netip.Addr.Is6)
	case FamilyBoth:
		pick(netip.Addr.Is4)
		pick(netip.Addr.Is6)
	default:
		pick(netip.Addr.IsValid)
	}
	return out
}

// check says why a target is not to be probed; nil if it is.
func (r *resolver) check(t *probe.Target, addrs []netip.Addr, local map[netip.Addr]bool) error {
	if len(addrs) == 0 {
		return errNoAddress
	}
	for _, a := range addrs {
		if !r.self && (t.Name == r.host || local[a] && !a.IsLoopback()) {
			return errThisHost
		}
		if r.allow != nil && !r.allow(a) {
			return fmt.Errorf("%s: %w", a, errNotAllowed)
		}
		if a.IsMulticast() || a.IsUnspecified() {
			return fmt.Errorf("%s: %w", a, errNoAddress)
		}
	}
	return nil
}

// full says why a target has to go without: a list of many names for one address, an error or
// an attack, must not aim more at it than at one target. Those that come first have their place.
func (r *resolver) full(at map[netip.Addr]int, addrs []netip.Addr) error {
	for _, a := range addrs {
		if r.most > 0 && at[a] >= r.most {
			return fmt.Errorf("%s: %w", a, errFull)
		}
	}
	for _, a := range addrs {
		at[a]++
	}
	return nil
}

func localAddresses() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return out
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			out[ip.Unmap()] = true
		}
	}
	return out
}

// routeTo asks the kernel which way an address is reached; the zero route if it
// cannot be said.
func (r *resolver) routeTo(a netip.Addr) route {
	var source netip.Addr
	if r.device != "" {
		source = sourceOf(r.sources, a.Is6())
		switch {
		case r.now.index == 0:
			return route{blocked: true, blockReason: reasonLinkDown}
		case a.Zone() != "" && a.Zone() != r.device:
			return route{blocked: true, blockReason: reasonNoRoute}
		}
	}
	found, err := r.now.routeTo(&netlink.Handle{}, a, source)
	if err != nil {
		var errno unix.Errno
		_ = errors.As(err, &errno) // 0 is another reason
		return route{blocked: r.device != "", blockReason: reasonFrom(source, errno)}
	}
	src, _ := netip.AddrFromSlice(found.Src)
	return route{source: src.Unmap(), ifIndex: found.LinkIndex}
}
