package reflector

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// llamaPort is where Dropbox's LLAMA reflectors listened; they echo anything.
const llamaPort = 8100

var (
	everyIPv4 = netip.MustParsePrefix("0.0.0.0/0")
	everyIPv6 = netip.MustParsePrefix("::/0")
)

// verdict is what the policy says of the sources in a prefix.
type verdict struct {
	allowed bool
	peer    bool
	keys    []keyRef // that may apply, the most specific first
}

type keyRef struct {
	ssid  uint16 // 0 is any
	index int    // of Policy.Auth
}

// policy is a compiled Policy; it does not change.
type policy struct {
	verdicts     bart.Table[*verdict]
	reflectors   portSet
	allow862     bool
	twampLight   bool
	location     stamp.LocationFields
	peerRate     rate
	strangerRate rate
	allowDSCP    stamp.DSCPSet
	keys         [][]byte
	minLen       int
}

type portSet [1 << 10]uint64

func (s *portSet) add(p uint16)      { s[p>>6] |= 1 << (p & 63) }
func (s *portSet) has(p uint16) bool { return s[p>>6]>>(p&63)&1 != 0 }

// compile checks p and brings it into the form that packets are looked up in.
// listen are the ports of this reflector.
func compile(p *Policy, listen []uint16) (*policy, error) {
	c := &policy{
		allow862: p.Allow862, twampLight: p.TWAMPLight, allowDSCP: ^p.DenyDSCP,
		peerRate:     newRate(p.PeerRate, DefaultPeerRate),
		strangerRate: newRate(p.StrangerRate, DefaultStrangerRate),
		minLen:       stamp.BaseLen,
	}
	if !p.HideLocation {
		c.location = stamp.ReportPorts | stamp.ReportAddresses
	}
	if p.TWAMPLight {
		c.minLen = stamp.MinLen
	}
	c.reflectors.add(llamaPort)
	for _, port := range slices.Concat(listen, p.ReflectorPorts) {
		c.reflectors.add(port)
	}
	var errs []error
	for i, a := range p.Auth {
		if _, err := stamp.NewAuthenticator(a.Key); err != nil {
			errs = append(errs, fmt.Errorf("use key %d of reflector: %w", i+1, err))
		}
		c.keys = append(c.keys, slices.Clone(a.Key))
	}
	for _, prefix := range slices.Concat(p.Allow, p.Peers) {
		if !prefix.IsValid() {
			errs = append(errs, errors.New("use prefix of reflector: not a prefix"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.addVerdicts(p)
	return c, nil
}

// addVerdicts folds all lists into one table, so that a packet needs one
// lookup: each prefix of any list gets what all prefixes around it say.
func (c *policy) addVerdicts(p *Policy) {
	allow := slices.Clone(p.Allow)
	if p.AllowAny {
		allow = append(allow, everyIPv4, everyIPv6)
	}
	var allowed, peers bart.Lite
	var keys bart.Table[[]keyRef]
	for _, prefix := range allow {
		allowed.Insert(plain(prefix))
	}
	for _, prefix := range p.Peers {
		peers.Insert(plain(prefix))
	}
	for i, a := range p.Auth {
		for _, prefix := range a.prefixes() {
			keys.Modify(prefix, func(refs []keyRef, _ bool) ([]keyRef, bool) {
				return append(refs, keyRef{a.SSID, i}), false
			})
		}
	}
	set := func(prefix netip.Prefix) {
		v := &verdict{peer: peers.LookupPrefix(prefix)}
		v.allowed = v.peer || allowed.LookupPrefix(prefix)
		for _, refs := range keys.Supernets(prefix) { // the most specific comes first
			refs = slices.Clone(refs)
			slices.SortStableFunc(refs, func(a, b keyRef) int { return int(b.ssid) - int(a.ssid) })
			v.keys = append(v.keys, refs...)
		}
		c.verdicts.Insert(prefix, v)
	}
	for prefix := range allowed.All() {
		set(prefix)
	}
	for prefix := range peers.All() {
		set(prefix)
	}
	for prefix := range keys.All() {
		set(prefix)
	}
}

func (a *Auth) prefixes() []netip.Prefix {
	if a.Prefix.IsValid() {
		return []netip.Prefix{plain(a.Prefix)}
	}
	return []netip.Prefix{everyIPv4, everyIPv6}
}

// plain is the prefix as packets are looked up: masked, never an IPv4-mapped one.
func plain(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// stranger is the verdict of sources that no list names.
var stranger verdict

func (c *policy) verdict(a netip.Addr) *verdict {
	if v, ok := c.verdicts.Lookup(a); ok {
		return v
	}
	return &stranger
}

// keyFor returns the index of the key that the request must authenticate with,
// or -1. The SSID is looked for where either mode has it: which mode the packet
// is of is for the configuration to say, not for the packet.
func (v *verdict) keyFor(b []byte) int {
	for _, k := range v.keys {
		if k.ssid == 0 || k.ssid == stamp.SSID(b, stamp.Unauthenticated) || k.ssid == stamp.SSID(b, stamp.Authenticated) {
			return k.index
		}
	}
	return -1
}
