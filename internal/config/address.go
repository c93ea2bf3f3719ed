package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// readSource reads "", one address, or a list of one a family.
func readSource(v value) []netip.Addr {
	if v.n.Kind == yaml.ScalarNode {
		var a netip.Addr
		readScalar(v, &a, func(s string) (netip.Addr, error) {
			if s == "" {
				return netip.Addr{}, nil
			}
			return parseUnicast(s)
		})
		if !a.IsValid() {
			return nil
		}
		return []netip.Addr{a}
	}
	as := readList(v, parseUnicast)
	if len(as) > 2 || len(as) == 2 && as[0].Is4() == as[1].Is4() {
		v.problem("two sources of one family: at most one IPv4 and one IPv6 address")
	}
	return as
}

// parseUnicast reads an address that a packet can come from or go to.
func parseUnicast(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%s is not an IP address", show(s))
	}
	return a.Unmap(), checkUnicast(a.Unmap())
}

func checkUnicast(a netip.Addr) error {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if a.IsUnspecified() || a.IsMulticast() || a == broadcast {
		return fmt.Errorf("%s is not the address of one host", a)
	}
	return nil
}

// hostLabel is a label of a host's name; underscores occur in practice.
var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

var allDigits = regexp.MustCompile(`^[0-9]+$`)

// parseAddress reads what is probed: an IP address or a host's name.
func parseAddress(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return s, checkUnicast(a.Unmap())
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return s, fmt.Errorf("%s holds a port: write it under port", show(s))
	}
	if strings.HasPrefix(s, "[") {
		return s, fmt.Errorf("%s is not an address: write IPv6 without brackets", show(s))
	}
	name := strings.TrimSuffix(s, ".")
	labels := strings.Split(name, ".")
	good := len(name) <= 253 && !allDigits.MatchString(labels[len(labels)-1])
	for _, l := range labels {
		good = good && hostLabel.MatchString(l)
	}
	if !good {
		return s, fmt.Errorf("%s is neither an IP address nor the name of a host", show(s))
	}
	return s, nil
}

// literal is the IP address that s writes out, or an invalid one.
func literal(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}
