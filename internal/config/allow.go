package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// Allow is a list of addresses that may be probed, or may ask the reflector.
type Allow struct {
	Any       bool           // every address
	Connected bool           // the prefixes directly connected; the caller knows and adds them
	Prefixes  []netip.Prefix // those named, and those that the words stand for
}

// allowWords are the words that stand for prefixes.
var allowWords = map[string][]netip.Prefix{
	"private":    prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), // RFC 1918
	"ula":        prefixes("fc00::/7"),                                      // RFC 4193
	"link-local": prefixes("169.254.0.0/16", "fe80::/10"),                   // RFC 3927, RFC 4291
	"loopback":   prefixes("127.0.0.0/8", "::1/128"),
}

func prefixes(ss ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

// defaultAllow holds what is no one else's network.
func defaultAllow() Allow {
	a := Allow{Connected: true}
	for _, w := range []string{"private", "ula", "link-local", "loopback"} {
		a.Prefixes = append(a.Prefixes, allowWords[w]...)
	}
	return a
}

// Contains tells whether a is allowed without regard to what is connected.
func (l Allow) Contains(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	return l.Any || containsAddr(l.Prefixes, a)
}

func containsAddr(ps []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("") // a prefix contains no address with a zone
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// allowed reads a list of prefixes, addresses and words; an empty list leaves
// the default.
func allowed(key string, dst *Allow) field {
	return field{key: key, read: func(v value) {
		items := v.list()
		if len(items) == 0 {
			return
		}
		*dst = Allow{}
		for _, item := range items {
			s, ok := item.scalar()
			if !ok {
				continue
			}
			switch s {
			case "any":
				dst.Any = true
			case "connected":
				dst.Connected = true
			default:
				ps, err := parseAllowed(s)
				if err != nil {
					item.problem("%v", err)
				}
				dst.Prefixes = append(dst.Prefixes, ps...)
			}
		}
	}}
}

func parseAllowed(s string) ([]netip.Prefix, error) {
	if ps, ok := allowWords[s]; ok {
		return ps, nil
	}
	words := []string{"any", "connected", "link-local", "loopback", "private", "ula"}
	if near := nearest(s, words); near != "" {
		return nil, fmt.Errorf("%s is no prefix; did you mean %s?", show(s), near)
	}
	p, err := parsePrefix(s)
	if err != nil {
		return nil, err
	}
	return []netip.Prefix{p}, nil
}
