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
	covers func(ifIndex int) bool // nil: none
	most   int                    // targets at one address; 0: no bound
	hops   *nextHops              // nil: no frames are sent
	known  map[string]answer      // by name looked up

	sources []netip.Addr
	device  string // "": any
	now     device // the same, as it was at the last look
}

// An answer is what a lookup said, or, once it is taken, what is known of a name.
type answer struct {
	name  string
	addrs []netip.Addr
	err   error
}

// names are those to look up: first those of which nothing is known.
func (r *resolver) names(targets []probe.Target) []string {
	var unknown, known []string
	seen := map[string]bool{}
	for i := range targets {
		name := targets[i].Address
		if _, err := netip.ParseAddr(name); err == nil || seen[name] {
			continue
		}
		seen[name] = true
		if _, ok := r.known[name]; ok {
			known = append(known, name)
		} else {
			unknown = append(unknown, name)
		}
	}
	return append(unknown, known...)
}

// ask looks names up. Answers come as they are there; none comes once ctx has ended, and
// behind the last one the channel is closed.
func (r *resolver) ask(ctx context.Context, names []string) <-chan answer {
	answers := make(chan answer, len(names)) // no lookup waits for who reads
	go func() {
		defer close(answers)
		var g errgroup.Group
		g.SetLimit(resolveAtOnce)
		for _, name := range names {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				if a := r.askOne(ctx, name); ctx.Err() == nil {
					answers <- a
				}
				return nil
			})
		}
		_ = g.Wait()
	}()
	return answers
}

func (r *resolver) askOne(ctx context.Context, name string) answer {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	network := map[Family]string{Family4: "ip4", Family6: "ip6"}[r.family]
	if network == "" {
		network = "ip"
	}
	addrs, err := r.lookup(ctx, network, name)
	if err != nil {
		err = fmt.Errorf("resolve %q: %w", name, err)
	}
	return answer{name, addrs, err}
}

// take makes an answer what is known, and says whether that is new. A name that was
// answered before keeps its addresses while a lookup fails.
func (r *resolver) take(a answer) bool {
	before, ok := r.known[a.name]
	var dns *net.DNSError
	switch {
	case a.err == nil:
		a.addrs = r.choose(a.addrs, before.addrs)
	case errors.As(a.err, &dns) && dns.IsNotFound:
		a.addrs = nil
	default:
		a.addrs = before.addrs
	}
	r.known[a.name] = a
	return !ok || !slices.Equal(before.addrs, a.addrs)
}

// of is what is known of a target's addresses.
func (r *resolver) of(t *probe.Target) answer {
	if a, err := netip.ParseAddr(t.Address); err == nil {
		return answer{addrs: []netip.Addr{a.Unmap()}}
	}
	if a, ok := r.known[t.Address]; ok {
		return a
	}
	return answer{err: errPending}
}

// resolve says of all targets what is known of them, without a lookup; one that failed harms
// no other. Names that are no target's any more are forgotten.
func (r *resolver) resolve(targets []probe.Target) ([]endpoint, []TargetState) {
	states := make([]TargetState, len(targets))
	local := localAddresses()
	r.now = deviceNamed(&netlink.Handle{}, r.device)
	known := make(map[string]answer, len(targets))
	var out []endpoint
	stamps := map[int]bool{} // by interface index
	framed := map[netip.Addr]bool{}
	at := map[netip.Addr]int{} // targets
	if r.hops != nil {
		r.hops.refresh() // what the kernel covers may have changed
	}
	for i := range targets {
		t, s := &targets[i], &states[i]
		a := r.of(t)
		s.Name, s.Addresses, s.Err = t.Name, a.addrs, a.err
		if a.name != "" {
			known[a.name] = a
		}
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
	r.known = known
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
