//go:build linux

package loader

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Verdicts on a source (bpf/shared.h).
const (
	verdictAllowed = 1
	verdictPeer    = 2
	verdictKeyed   = 4
)

var (
	everyIPv4 = netip.MustParsePrefix("0.0.0.0/0")
	everyIPv6 = netip.MustParsePrefix("::/0")
)

// verdicts folds all lists into one table a family, so that a packet needs one
// lookup: each prefix of any list gets what all prefixes around it say.
func (p *Policy) verdicts() (map[bpfLlamaLpm4]uint32, map[bpfLlamaLpm6]uint32, error) {
	var allowed, peers, keyed bart.Lite
	allow := slices.Clone(p.Allow)
	if p.AllowAny {
		allow = append(allow, everyIPv4, everyIPv6)
	}
	for _, prefix := range slices.Concat(allow, p.Peers) {
		if !prefix.IsValid() {
			return nil, nil, errors.New("use prefix of reflector: not a prefix")
		}
	}
	for _, prefix := range allow {
		allowed.Insert(plain(prefix))
	}
	for _, prefix := range p.Peers {
		peers.Insert(plain(prefix))
	}
	for _, rule := range p.Keyed {
		switch {
		case rule.Prefix.IsValid():
			keyed.Insert(plain(rule.Prefix))
		case rule.SSID == 0:
			keyed.Insert(everyIPv4)
			keyed.Insert(everyIPv6)
		}
	}
	v4, v6 := make(map[bpfLlamaLpm4]uint32), make(map[bpfLlamaLpm6]uint32)
	for _, list := range []*bart.Lite{&allowed, &peers, &keyed} {
		for prefix := range list.All() {
			var bits uint32
			if allowed.LookupPrefix(prefix) {
				bits |= verdictAllowed
			}
			if peers.LookupPrefix(prefix) {
				bits |= verdictAllowed | verdictPeer
			}
			if keyed.LookupPrefix(prefix) {
				bits |= verdictKeyed
			}
			if n := uint32(prefix.Bits()); prefix.Addr().Is4() {
				v4[bpfLlamaLpm4{Prefixlen: n, Octets: prefix.Addr().As4()}] = bits
			} else {
				v6[bpfLlamaLpm6{Prefixlen: n, Octets: prefix.Addr().As16()}] = bits
			}
		}
	}
	return v4, v6, nil
}

// keyedSSIDs are those that have a key whatever the source.
func (p *Policy) keyedSSIDs() map[uint16]uint8 {
	m := make(map[uint16]uint8)
	for _, rule := range p.Keyed {
		if !rule.Prefix.IsValid() && rule.SSID != 0 {
			m[be16(rule.SSID)] = 1
		}
	}
	return m
}

// plain is the prefix as packets are looked up: masked, never an IPv4-mapped one.
func plain(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
