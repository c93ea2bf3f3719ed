package collector

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// overflows is how many datagrams the kernel dropped at UDP sockets of this network namespace, for want of room as a rule,
// and not for a wrong checksum. A socket's own count holds these too, but the network bent them: this host's buffers have
// nothing to do with it.
type overflows struct{ claimed uint64 }

// claim returns how many of n drops at a socket can be this host's own: at the most as many as were so at all sockets, and
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

// udpOverflows is UDP's InErrors less its InCsumErrors, of IPv4 and IPv6: RcvbufErrors, and what a kernel has no count of
// its own for (before MemErrors came, memory of all sockets).
func udpOverflows() (sum uint64, ok bool) {
	for _, count := range []func(name string) (uint64, bool){udp4(), udp6()} {
		errs, found := count("InErrors")
		bent, _ := count("InCsumErrors")
		if found {
			sum, ok = sum+max(errs, bent)-bent, true
		}
	}
	return sum, ok
}

// udp4 reads the counts of UDP over IPv4: two lines, of names and of values.
func udp4() func(name string) (uint64, bool) {
	var lines [][]string
	text, _ := os.ReadFile("/proc/thread-self/net/snmp")
	for line := range strings.Lines(string(text)) {
		if columns := strings.Fields(line); len(columns) > 0 && columns[0] == "Udp:" {
			lines = append(lines, columns)
		}
	}
	return func(name string) (uint64, bool) {
		if len(lines) != 2 {
			return 0, false
		}
		i := slices.Index(lines[0], name)
		if i < 0 || i >= len(lines[1]) {
			return 0, false
		}
		n, err := strconv.ParseUint(lines[1][i], 10, 64)
		return n, err == nil
	}
}

// udp6 reads those of UDP over IPv6: a name and a value a line.
func udp6() func(name string) (uint64, bool) {
	fields := map[string]string{}
	text, _ := os.ReadFile("/proc/thread-self/net/snmp6")
	for line := range strings.Lines(string(text)) {
		if columns := strings.Fields(line); len(columns) == 2 {
			fields[columns[0]] = columns[1]
		}
	}
	return func(name string) (uint64, bool) {
		n, err := strconv.ParseUint(fields["Udp6"+name], 10, 64)
		return n, err == nil
	}
}
