package config

import "hash/fnv"

// SourcePorts returns the first n source ports of a host: distinct, all of them if
// the range has no more than n, and the same after every restart and on every
// platform. A greater n keeps the ports of a smaller one and appends to them.
// They are the same towards all targets, so that probes to many targets leave
// from few sockets, in batches; ECMP hashes the destination too.
//
// The order is a Fisher-Yates shuffle of the range, whose random numbers are
// SplitMix64 started from the FNV-1a 64 hash of the host's name.
func SourcePorts(hostName string, n int, r PortRange) []uint16 {
	h := fnv.New64a()
	h.Write([]byte(hostName))
	state := h.Sum64()

	size := r.Size()
	n = max(0, min(n, size))
	ports := make([]uint16, n)
	moved := make(map[int]int, n) // where the shuffle differs from the identity: n entries, not the range's size
	at := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	for i := range ports {
		// The modulo favours no port by more than size/2^64.
		j := i + int(splitMix64(&state)%uint64(size-i))
		ports[i] = r.Lo + uint16(at(j))
		moved[j] = at(i)
	}
	return ports
}

// splitMix64 is the generator of Steele, Lea and Flood (2014).
func splitMix64(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
