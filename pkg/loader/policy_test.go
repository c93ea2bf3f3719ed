//go:build linux

package loader

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPolicyErrors(t *testing.T) {
	many := func(n int) (ports []uint16) {
		for i := range n {
			ports = append(ports, uint16(10000+i))
		}
		return ports
	}
	for _, c := range []struct {
		name, want string
		change     func(*Policy)
	}{
		{"17-ports", "reflect on 17 ports: at least 1 and at most 16", func(p *Policy) { p.Ports = many(17) }},
		{"no-port", "reflect on 0 ports", func(p *Policy) { p.Ports = nil }},
		{"port-0", "port 0", func(p *Policy) { p.Ports = []uint16{0} }},
		{"refused-65", "refuse 65 ports of reflectors: at most 64", func(p *Policy) { p.Ports, p.ReflectorPorts = many(1), many(64) }},
		{"no-rate", "must be positive", func(p *Policy) { p.PeerRate = 0 }},
		{"no-sessions", "must be positive", func(p *Policy) { p.SessionsPerPeer = -1 }},
		{"no-prefix", "not a prefix", func(p *Policy) { p.Allow = []netip.Prefix{{}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testPolicy()
			c.change(p)
			_, err := p.config()
			if err == nil {
				_, _, err = p.verdicts()
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	p := testPolicy()
	p.Ports, p.ReflectorPorts = append(many(16), many(16)...), many(63) // doubles do not count
	_, err := p.config()
	require.NoError(t, err)
}

// All ports that may be configured are answered on, and refused as a source.
func TestPolicyAllPorts(t *testing.T) {
	r := newRig(t)
	p := testPolicy()
	p.Ports, p.ReflectorPorts = nil, nil
	for i := range uint16(16) {
		p.Ports = append(p.Ports, 1100+i*64) // one bit of the filter
	}
	for i := range uint16(47) {
		p.ReflectorPorts = append(p.ReflectorPorts, 30000+i)
	}
	require.NoError(t, r.setPolicy(p))
	eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
		for _, port := range p.Ports {
			req := request(false)
			req.dport = port
			r.answered(kind, req, first)
		}
		for _, port := range append(append(p.ReflectorPorts, p.Ports...), llamaPort) {
			req := request(false)
			req.sport, req.dport = port, p.Ports[0]
			r.must(kind, req.bytes(), "port_reflector")
		}
	})
}

// The folded tries say of every address what the lists say one by one.
func TestVerdictsOfRandomLists(t *testing.T) {
	r := newRig(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	// Few distinct bits, so that prefixes lie within each other.
	random := func() netip.Prefix {
		a := [4]byte{10, byte(rnd.IntN(2)) << 7, byte(rnd.IntN(4)), byte(rnd.IntN(4))}
		if rnd.IntN(2) == 0 {
			return netip.PrefixFrom(netip.AddrFrom4(a), rnd.IntN(33)).Masked()
		}
		b := [16]byte{0: 0xfd, 14: a[2], 15: a[3]}
		return netip.PrefixFrom(netip.AddrFrom16(b), rnd.IntN(129)).Masked()
	}
	list := func() (l []netip.Prefix) {
		for range rnd.IntN(6) {
			l = append(l, random())
		}
		return l
	}
	contains := func(l []netip.Prefix, a netip.Addr) bool {
		for _, p := range l {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	for range 200 {
		p := testPolicy()
		p.Allow, p.Peers, p.AllowAny = list(), list(), rnd.IntN(10) == 0
		keys := list()
		for _, k := range keys {
			p.Keyed = append(p.Keyed, KeyedRule{Prefix: k, SSID: uint16(rnd.IntN(2))})
		}
		require.NoError(t, r.setPolicy(p)) // over the one before
		for range 50 {
			a := random().Addr()
			want := uint32(0)
			if p.AllowAny || contains(p.Allow, a) {
				want |= verdictAllowed
			}
			if contains(p.Peers, a) {
				want |= verdictAllowed | verdictPeer
			}
			if contains(keys, a) {
				want |= verdictKeyed
			}
			require.Equal(t, want, r.verdict(a), "%v of %+v", a, p)
		}
	}
}

func (r *rig) verdict(a netip.Addr) (bits uint32) {
	if a.Is4() {
		_ = r.LlamaAllow4.Lookup(bpfLlamaLpm4{Prefixlen: 32, Octets: a.As4()}, &bits)
	} else {
		_ = r.LlamaAllow6.Lookup(bpfLlamaLpm6{Prefixlen: 128, Octets: a.As16()}, &bits)
	}
	return bits
}

// Prefixes written as IPv4-mapped ones are IPv4's.
func TestVerdictsMapped(t *testing.T) {
	p := testPolicy()
	p.Allow, p.Peers = []netip.Prefix{prefix("::ffff:192.0.2.0/120")}, nil
	v4, v6, err := p.verdicts()
	require.NoError(t, err)
	require.Empty(t, v6)
	require.Equal(t, map[bpfLlamaLpm4]uint32{{Prefixlen: 24, Octets: [4]byte{192, 0, 2}}: verdictAllowed}, v4)
}

func TestPolicyTooManyPrefixes(t *testing.T) {
	r := newSmallRig(t, map[string]uint32{bpfMapLlamaAllow4: 4, bpfMapLlamaLocal: 4})
	p := testPolicy()
	p.Peers, p.Allow = nil, nil
	for i := range byte(4) {
		p.Allow = append(p.Allow, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, i}), 32))
	}
	require.NoError(t, r.setPolicy(p), "a whole new list, with no room for both")
	require.EqualValues(t, 0, r.verdict(peer4))
	require.EqualValues(t, verdictAllowed, r.verdict(addr("10.0.1.3")))
	p.Allow = append(p.Allow, prefix("10.0.2.0/24"))
	require.ErrorContains(t, r.setPolicy(p), "write IPv4 sources: 5 entries, at most 4")
	require.ErrorContains(t, r.setLocal([]netip.Addr{addr("::1"), addr("::2"), addr("::3"), addr("::4"), addr("::5")}),
		"write local addresses: 5 entries, at most 4")
}
