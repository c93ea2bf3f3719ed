package config

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PortRange is the UDP ports from Lo to Hi, both included. The zero value is no
// port at all.
type PortRange struct{ Lo, Hi uint16 }

// Size is the number of ports.
func (r PortRange) Size() int {
	if r.Lo == 0 || r.Hi < r.Lo {
		return 0
	}
	return int(r.Hi) - int(r.Lo) + 1
}

// Contains tells whether p is one of them.
func (r PortRange) Contains(p uint16) bool { return r.Size() > 0 && r.Lo <= p && p <= r.Hi }

// Overlaps tells whether the two have a port in common.
func (r PortRange) Overlaps(o PortRange) bool {
	return r.Size() > 0 && o.Size() > 0 && r.Lo <= o.Hi && o.Lo <= r.Hi
}

// String is the form of the configuration file: 20000-24095.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.Lo, r.Hi) }

// MarshalText is String.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// parseSourcePorts reads "20000-24095". A reflector refuses what comes from a
// port below 1024.
func parseSourcePorts(s string) (PortRange, error) {
	form := fmt.Errorf("%s is not a range of ports: write the first and the last, as 20000-24095", show(s))
	lo, hi, ok := strings.Cut(s, "-")
	if !ok {
		return PortRange{}, form
	}
	a, errA := strconv.ParseUint(lo, 10, 16)
	b, errB := strconv.ParseUint(hi, 10, 16)
	switch {
	case errA != nil || errB != nil:
		return PortRange{}, form
	case b < a:
		return PortRange{}, fmt.Errorf("%s ends before it begins: write %d-%d", s, b, a)
	case a < 1024:
		return PortRange{}, fmt.Errorf("%s begins below 1024, and reflectors refuse such source ports", s)
	}
	return PortRange{Lo: uint16(a), Hi: uint16(b)}, nil
}

// ephemeralPorts is the range from which the kernel gives ports to sockets that
// ask for none; zero where that is unknown.
func ephemeralPorts() PortRange {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return PortRange{}
	}
	var r PortRange
	if _, err := fmt.Sscan(string(b), &r.Lo, &r.Hi); err != nil {
		return PortRange{}
	}
	return r
}
