package collector

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
)

// overflows is how many datagrams the kernel dropped at UDP sockets of this network namespace for want of room. A socket's
// own count holds those with a wrong checksum too: the network bent these, and this host's buffers have nothing to do with it.
type overflows struct{ claimed uint64 }

// claim returns how many of n drops at a socket can be for want of room: at the most as many as were so at all sockets, and
// as no socket has claimed.
func (o *overflows) claim(n uint32) uint32 {
	total, ok := udpOverflows()
	if !ok {
		return n // not known: rather ours than the network's
	}
	n = uint32(min(uint64(n), max(total, o.claimed)-o.claimed))
	o.claimed += uint64(n)
	return n
}

// forget leaves what nobody claimed to other programs' sockets.
func (o *overflows) forget() { o.claimed, _ = udpOverflows() }

// udpOverflows sums RcvbufErrors and MemErrors (MemErrors from Linux 5.12) of UDP, IPv4's and IPv6's.
func udpOverflows() (sum uint64, ok bool) {
	v4, ok4 := snmp("/proc/thread-self/net/snmp", "Udp:")
	v6, ok6 := snmp6("/proc/thread-self/net/snmp6", "Udp6")
	return v4 + v6, ok4 || ok6
}

// snmp sums the two columns of a protocol: a line of names, then one of values.
func snmp(path, protocol string) (sum uint64, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		switch {
		case len(columns) == 0 || columns[0] != protocol:
		case names == nil:
			names = columns
		default:
			for _, name := range []string{"RcvbufErrors", "MemErrors"} {
				if i := slices.Index(names, name); i > 0 && i < len(columns) {
					n, _ := strconv.ParseUint(columns[i], 10, 64)
					sum, ok = sum+n, true
				}
			}
		}
	}
	return sum, ok
}

// snmp6 is snmp for IPv6's file, which has a name and a value a line.
func snmp6(path, protocol string) (sum uint64, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if name == protocol+"RcvbufErrors" || name == protocol+"MemErrors" {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			sum, ok = sum+n, true
		}
	}
	return sum, ok
}
