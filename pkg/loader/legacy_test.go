//go:build linux

package loader

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

const legacyTestPort = 8100

// legacyProbe is the probe of Dropbox's collectors: signature, ToS, sent, padding.
func legacyProbe(tos uint8) []byte {
	b := append([]byte{0x0a, 10}, "\x01\x80\xff\x00llama!"...)
	b = append(b, 0x12, 1, tos, 0x18)
	b = binary.AppendUvarint(b, 1_600_000_000_000_000_000)
	b = append(b, 0x3a, 0xe8, 0x07)
	return append(b, make([]byte, 1000)...)
}

func legacyRequest(v6 bool, tos uint8) *packet {
	p := request(v6)
	p.dport, p.payload = legacyTestPort, legacyProbe(tos)
	return p
}

func legacyRig(t *testing.T, change ...func(*Policy)) *rig {
	r := newRig(t)
	p := testPolicy()
	p.Legacy = legacyTestPort
	for _, c := range change {
		c(p)
	}
	require.NoError(t, r.setPolicy(p))
	return r
}

// returned is the probe on its way back: the same octets, and the ToS that it asked for.
func (p *packet) returned(tos uint8) []byte {
	back := *p
	back.dstMAC, back.srcMAC = p.srcMAC, p.dstMAC
	back.src, back.dst = p.dst, p.src
	back.sport, back.dport = p.dport, p.sport
	back.tos, back.ttl, back.frag = tos, 255, 0x4000
	return back.bytes()
}

func TestLegacy(t *testing.T) {
	require.Len(t, legacyProbe(0), 1028)
	r := legacyRig(t)
	for name, bend := range map[string]func(*packet){
		"plain":            func(*packet) {},
		"another-padding":  func(p *packet) { p.payload[1000] = 7 },
		"clock-of-1973":    func(p *packet) { binary.PutUvarint(p.payload[16:], 100_000_000_000_000_000) },
		"stranger":         func(p *packet) { p.src = map[bool]*packet{false: {src: guest4}, true: {src: guest6}}[p.v6()].src },
		"two-tags":         func(p *packet) { p.vlans = []uint16{0x88a8, 0x8100} },
		"ethernet-padding": func(p *packet) { p.trailer = make([]byte, 10) },
		"ephemeral-port":   func(p *packet) { p.sport = 60999 },
		"port-1024":        func(p *packet) { p.sport = 1024 },
	} {
		t.Run(name, func(t *testing.T) {
			eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
				req := legacyRequest(v6, 0xb8)
				bend(req)
				out := r.must(kind, req.bytes(), "legacy")
				require.Equal(t, hexdump(req.returned(0xb8)), hexdump(out))
			})
		})
	}
}

// Every ToS is given as it was asked for, both bits of ECN with it; but not a DSCP that may not be asked for.
func TestLegacyToS(t *testing.T) {
	r := legacyRig(t, func(p *Policy) { p.DenyDSCP = 1 << 10 })
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		for tos := range 256 {
			req := legacyRequest(v6, uint8(tos))
			want := uint8(tos)
			if tos>>2 == 10 {
				want = 46 << 2 // as it came
			}
			require.Equal(t, hexdump(req.returned(want)), hexdump(r.must(kind, req.bytes(), "legacy")))
		}
	})
}

// What the checksum is does not change, and is verified.
func TestLegacyChecksum(t *testing.T) {
	r := legacyRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		req := legacyRequest(v6, 0)
		if !v6 {
			req.noChecksum = true
			require.Equal(t, hexdump(req.returned(0)), hexdump(r.must(kind, req.bytes(), "legacy")))
			req.noChecksum = false
		}
		frame := req.bytes()
		frame[len(frame)-1] ^= 1
		r.must(kind, frame, "udp_checksum")
		req.partialChecksum = true
		out := r.must(kind, req.bytes(), "legacy")
		if kinds[kind].kind == progXDP { // the driver makes a new packet of it
			req.partialChecksum = false
		}
		require.Equal(t, hexdump(req.returned(0)), hexdump(out))
	})
}

// What is refused, and what is left to the sockets.
func TestLegacyReasons(t *testing.T) {
	cut := func(n int) func(*packet) { return func(p *packet) { p.payload = p.payload[:n] } }
	octet := func(at int, b byte) func(*packet) { return func(p *packet) { p.payload[at] = b } }
	from := func(port uint16) func(*packet) { return func(p *packet) { p.sport = port } }
	for _, c := range []bent{
		{"from-legacy-port", "port_reflector", false, nil, from(legacyTestPort)},
		{"ipv6-from-legacy-port", "port_reflector", true, nil, from(legacyTestPort)},
		{"from-own-port", "port_reflector", false, nil, from(8620)},
		{"from-reflector-port", "port_reflector", true, nil, from(9000)},
		{"from-862", "port_reflector", false, func(p *Policy) { p.Allow862 = true }, from(862)},
		{"from-port-0", "port_low", false, nil, from(0)},
		{"from-port-53", "port_low", true, nil, from(53)},
		{"not-allowed", "not_allowed", false, nil, func(p *packet) { p.src = other4 }},
		{"transit", "other_address", false, nil, func(p *packet) { p.dst = addr("10.0.0.9") }},
		{"from-us", "source_ours", true, nil, func(p *packet) { p.src = host6 }},
		{"flooded", "other_mac", false, nil, func(p *packet) { p.dstMAC = [6]byte{2, 0, 0, 0, 0, 9} }},
		{"keyed", "keyed", false, keyed("10.0.0.0/8", 0), func(*packet) {}},
		{"ip-options", "ip_options", false, nil, func(p *packet) { p.options = []byte{1, 1, 1, 1} }},
		{"fragment", "fragment", false, nil, func(p *packet) { p.frag = 0x2000 }},
		{"empty", "legacy_form", false, nil, cut(0)},
		{"13-octets", "legacy_form", true, nil, cut(13)},
		{"27-octets", "legacy_form", false, nil, cut(27)},
		{"1027-octets", "legacy_form", false, nil, cut(1027)},
		{"1029-octets", "legacy_form", true, nil, func(p *packet) { p.payload = append(p.payload, 0) }},
		{"no-tos", "legacy_form", false, nil, octet(13, 0)},
		{"two-tos", "legacy_form", false, nil, octet(13, 2)},
		{"other-signature", "legacy_form", true, nil, octet(1, 9)},
		{"other-field", "legacy_form", false, nil, octet(0, 0x12)},
		{"short-varint", "legacy_form", false, nil, octet(20, 0x7f)},
		{"long-varint", "legacy_form", true, nil, octet(24, 0x80)},
		{"other-padding", "legacy_form", false, nil, octet(26, 0xe7)},
		{"stamp", "legacy_form", false, nil, func(p *packet) { p.payload = fullProbe(10) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			policies := []func(*Policy){}
			if c.policy != nil {
				policies = append(policies, c.policy)
			}
			r := legacyRig(t, policies...)
			eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
				req := legacyRequest(c.v6, 0)
				c.bend(req)
				r.must(kind, req.bytes(), c.reason)
			})
		})
	}
}

// One rate a source, whatever it sends.
func TestLegacyRate(t *testing.T) {
	r := legacyRig(t, func(p *Policy) { p.PeerRate, p.StrangerRate = 1, 1 })
	eachFamily(t, r, func(_ *testing.T, r *rig, kind int, v6 bool) {
		for _, stranger := range []bool{false, true} {
			r.reset()
			req, plain := legacyRequest(v6, 0), request(v6)
			reason := "rate_peer"
			if stranger {
				reason = "rate_stranger"
				req.src = guest4
				if v6 {
					req.src = guest6
				}
				plain.src = req.src
			}
			for range 16 { // half of the burst
				r.must(kind, req.bytes(), "legacy")
				r.must(kind, plain.bytes(), "replied")
			}
			r.must(kind, req.bytes(), reason)
			r.must(kind, plain.bytes(), reason)
		}
	})
}

// Without legacy its port is none of ours, and with it STAMP's stays what it was.
func TestLegacyIsApart(t *testing.T) {
	r := newRig(t)
	eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
		r.must(kind, legacyRequest(false, 0).bytes(), "other_port")
	})
	r = legacyRig(t)
	eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
		r.answered(kind, request(false), first)
		probe := request(false)
		probe.sport, probe.payload = 20002, legacyProbe(0) // to STAMP's port: a base packet, and no TLVs
		r.answered(kind, probe, first)
	})
}

func TestLegacyPolicy(t *testing.T) {
	p := testPolicy()
	p.Legacy = 862
	_, err := p.config()
	require.ErrorContains(t, err, "reflect on port 862: either STAMP's probes or those of LLAMA")
}
