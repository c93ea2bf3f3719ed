//go:build linux

package loader

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// decode reads a frame that is a whole UDP datagram without anything odd: the packet
// that builds it again, but for the UDP checksum.
func decode(f []byte) (p *packet, ok bool) {
	if len(f) < 14 {
		return nil, false
	}
	p = &packet{etherType: be.Uint16(f[12:])}
	copy(p.dstMAC[:], f)
	copy(p.srcMAC[:], f[6:])
	l3 := 14
	for ; p.etherType == 0x8100 || p.etherType == 0x88a8; l3 += 4 {
		if len(f) < l3+4 || len(p.vlans) == 2 {
			return nil, false
		}
		p.vlans = append(p.vlans, p.etherType)
		p.tcis = append(p.tcis, be.Uint16(f[l3:]))
		p.etherType = be.Uint16(f[l3+2:])
	}
	var total int
	ip := f[l3:]
	switch {
	case p.etherType == 0x0800 && len(ip) >= 20 && ip[0] == 0x45 && onesSum(ip[:20]) == 0xffff:
		total = int(be.Uint16(ip[2:]))
		p.tos, p.id, p.frag, p.ttl, p.proto = ip[1], be.Uint16(ip[4:]), be.Uint16(ip[6:]), ip[8], ip[9]
		p.src, _ = netip.AddrFromSlice(ip[12:16])
		p.dst, _ = netip.AddrFromSlice(ip[16:20])
		if p.frag&0x3fff != 0 {
			return nil, false
		}
	case p.etherType == 0x86dd && len(ip) >= 40 && ip[0]>>4 == 6:
		total = int(be.Uint16(ip[4:])) + 40
		w := be.Uint32(ip)
		p.tos, p.label, p.proto, p.ttl = uint8(w>>20), w&0xfffff, ip[6], ip[7]
		p.src, _ = netip.AddrFromSlice(ip[8:24])
		p.dst, _ = netip.AddrFromSlice(ip[24:40])
	default:
		return nil, false
	}
	h := p.headerLen()
	if p.proto != 17 || total > len(ip) || total < h+8 || int(be.Uint16(ip[h+4:])) != total-h {
		return nil, false
	}
	udp := ip[h:total]
	p.sport, p.dport = be.Uint16(udp), be.Uint16(udp[2:])
	p.noChecksum = be.Uint16(udp[6:]) == 0
	p.payload, p.trailer = slices.Clone(udp[8:]), slices.Clone(ip[total:])
	return p, true
}

// answerable tells whether the packet is one that has to be answered in the kernel under
// testPolicy, written down once more from the contract: what is wrong with it is not
// asked.
func answerable(p *packet) bool {
	allowed := []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8"), prefix("fe80::/10")}
	if p.dstMAC != hostMAC || p.srcMAC[0]&1 != 0 || p.v6() && p.noChecksum ||
		!slices.Contains([]netip.Addr{host4, host6, link6}, p.dst) ||
		slices.Contains([]netip.Addr{host4, host6, link6, cast4}, p.src) ||
		!slices.ContainsFunc(allowed, func(a netip.Prefix) bool { return a.Contains(p.src) }) ||
		p.dport != 862 && p.dport != 8620 ||
		p.sport < 1024 || slices.Contains([]uint16{8620, 9000, 8100}, p.sport) ||
		len(p.payload) < 44 || stamp.LooksLikeReply(p.payload) {
		return false
	}
	it := stamp.NewTLVs(p.payload, 44)
	for it.Next() {
		want, known := map[uint8]int{1: len(it.Value), 4: 4, 5: 12}[it.Type]
		if !known || it.Past || len(it.Value) != want || it.Count() > 4 {
			return false
		}
	}
	return true
}

// session is that of the packet, of either class.
func (r *rig) session(p *packet) (s bpfLlamaSession, ok bool) {
	k := bpfLlamaKey{Src: addr16(p.src), Dst: addr16(p.dst), Sport: be16(p.sport), Dport: be16(p.dport)}
	k.Ssid = be16(stamp.SSID(p.payload, stamp.Unauthenticated))
	if p.src.IsLinkLocalUnicast() {
		k.Ifindex = testIfindex
	}
	if r.LlamaPeer.Lookup(&k, &s) == nil || r.LlamaGuest.Lookup(&k, &s) == nil {
		return s, true
	}
	return s, false
}

func udpAt(p *packet, frame []byte) int { return len(frame) - len(p.trailer) - len(p.payload) - 8 }

// udpSum is the sum that a right checksum makes 0xffff.
func udpSum(p *packet, frame []byte) uint16 {
	return onesSum(append(p.pseudo(), frame[udpAt(p, frame):len(frame)-len(p.trailer)]...))
}

func udpField(p *packet, frame []byte) uint16 { return be.Uint16(frame[udpAt(p, frame)+6:]) }

// judge runs any frame and holds the outcome against the oracle. It reports whether
// there was a reply.
func (r *rig) judge(kind int, frame []byte) bool {
	r.t.Helper()
	k := &kinds[kind]
	p, whole := decode(frame)
	up, partial := false, false
	if whole {
		s, ok := r.session(p)
		up = ok && s.Flags != 0
		right := udpSum(p, frame) == 0xffff
		partial = !right && udpField(p, frame) == onesSum(p.pseudo())
		whole = p.noChecksum || right || partial
	}
	from := monotonic()
	ret, out := r.run(k.kind, frame)
	to := monotonic()
	if ret != k.reply {
		require.Contains(r.t, []uint32{k.pass, k.drop}, ret)
		require.True(r.t, bytes.Equal(frame, out), "not answered, but changed: %x", frame)
		require.False(r.t, whole && !up && answerable(p), "not answered: %x", frame)
		return false
	}
	require.True(r.t, whole && !up && answerable(p), "answered: %x", frame)
	s, ok := r.session(p)
	require.True(r.t, ok)
	switch {
	case p.noChecksum:
	case partial && k.kind == progXDPGeneric: // left to the device
		require.Equal(r.t, udpField(p, frame), udpField(p, out), "checksum of the reply to %x", frame)
	case partial && k.kind == progTC: // likewise, but a test run's sk_buff does not know
		require.Equal(r.t, udpSum(p, frame)%0xffff, udpSum(p, out)%0xffff, "checksum of the reply to %x", frame)
	default:
		require.Equal(r.t, uint16(0xffff), udpSum(p, out), "checksum of the reply to %x", frame)
	}
	l4 := udpAt(p, frame)
	whole2 := slices.Clone(out)
	if !p.noChecksum {
		be.PutUint16(whole2[l4+6:], 0)
		be.PutUint16(whole2[l4+6:], udpChecksum(p.pseudo(), whole2[l4:len(out)-len(p.trailer)]))
	}
	r.verify(p, whole2, arrival{rx: s.Rx, tx: s.Tx}, from, to)
	return true
}
