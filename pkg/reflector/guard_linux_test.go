package reflector

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

var (
	testPeer     = netip.MustParseAddrPort("10.0.0.2:20000")
	testStranger = netip.MustParseAddrPort("192.0.2.9:20000")
	testKey      = []byte("sixteen octets..")
)

func testPolicy() Policy {
	return Policy{
		Allow:          []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Peers:          []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		ReflectorPorts: []uint16{8620},
		Auth: []Auth{
			{Prefix: netip.MustParsePrefix("10.0.0.77/32"), Key: testKey},
			{SSID: 4711, Key: testKey},
		},
	}
}

func authProbe(t testing.TB, key []byte, ssid uint16) []byte {
	t.Helper()
	a, err := stamp.NewAuthenticator(key)
	require.NoError(t, err)
	return probe(t, stamp.ProbeOptions{Mode: stamp.Authenticated, Auth: a, SSID: ssid}, 0)
}

func from(q *request, addr string) {
	q.src = netip.AddrPortFrom(netip.MustParseAddr(addr), q.src.Port())
}
func fromPort(q *request, p uint16) { q.src = netip.AddrPortFrom(q.src.Addr(), p) }

// A request that is answered, and one change at a time.
func TestGuards(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   Reason
		policy func(*Policy)
		change func(*request)
	}{
		{name: "valid", want: Replied},
		{name: "empty", want: Empty, change: func(q *request) { q.b = nil }},
		{name: "1_octet", want: Short, change: func(q *request) { q.b = q.b[:1] }},
		{name: "43_octets", want: Short, change: func(q *request) { q.b = q.b[:43] }},
		{name: "44_octets", want: Replied, change: func(q *request) { q.b = q.b[:44] }},
		{name: "40_octets_light", want: Short, policy: light, change: func(q *request) { q.b = q.b[:40] }},
		{name: "41_octets_light", want: Replied, policy: light, change: func(q *request) { q.b = q.b[:41] }},
		{name: "truncated", want: Truncated, change: func(q *request) { q.truncated = true }},
		{name: "no_source", want: NotUnicast, change: func(q *request) { q.src = netip.AddrPort{} }},
		{name: "from_unspecified", want: NotUnicast, change: func(q *request) { from(q, "0.0.0.0") }},
		{name: "from_multicast", want: NotUnicast, change: func(q *request) { from(q, "224.0.0.1") }},
		{name: "from_multicast_6", want: NotUnicast, change: func(q *request) { from(q, "ff02::1") }},
		{name: "from_broadcast", want: NotUnicast, change: func(q *request) { from(q, "255.255.255.255") }},
		{name: "to_multicast", want: NotUnicast, change: func(q *request) { q.meta.Local = netip.MustParseAddr("ff02::1") }},
		{name: "to_group", want: NotUnicast, change: func(q *request) { q.meta.Group = true }},
		{name: "port_0", want: PortLow, change: func(q *request) { fromPort(q, 0) }},
		{name: "port_53", want: PortLow, change: func(q *request) { fromPort(q, 53) }},
		{name: "port_1023", want: PortLow, change: func(q *request) { fromPort(q, 1023) }},
		{name: "port_1024", want: Replied, change: func(q *request) { fromPort(q, 1024) }},
		{name: "port_862", want: PortReflector, change: func(q *request) { fromPort(q, 862) }},
		{name: "port_862_allowed", want: Replied, policy: func(p *Policy) { p.Allow862 = true },
			change: func(q *request) { fromPort(q, 862) }},
		{name: "port_8100", want: PortReflector, change: func(q *request) { fromPort(q, 8100) }},
		{name: "port_configured", want: PortReflector, change: func(q *request) { fromPort(q, 8620) }},
		{name: "stranger", want: Replied, change: func(q *request) { q.src = testStranger }},
		{name: "not_allowed", want: NotAllowed, change: func(q *request) { from(q, "198.51.100.1") }},
		{name: "not_allowed_6", want: NotAllowed, change: func(q *request) { from(q, "2001:db8::1") }},
		{name: "allow_any", want: Replied, policy: func(p *Policy) { p.AllowAny = true },
			change: func(q *request) { from(q, "2001:db8::1") }},
		{name: "reply_shape", want: LooksLikeReply, change: func(q *request) { q.b[16], q.b[40] = 1, 255 }},
		{name: "key_by_prefix_short", want: AuthMissing, change: func(q *request) { from(q, "10.0.0.77") }},
		{name: "key_by_ssid_short", want: AuthMissing, change: func(q *request) { q.b[14], q.b[15] = 4711>>8, 4711&255 }},
		{name: "key_by_prefix", want: Replied, change: func(q *request) { from(q, "10.0.0.77"); q.b = authProbe(t, testKey, 1) }},
		{name: "key_by_ssid", want: Replied, change: func(q *request) { q.b = authProbe(t, testKey, 4711) }},
		{name: "wrong_key", want: AuthFailed, change: func(q *request) { q.b = authProbe(t, []byte("other"), 4711) }},
		{name: "hmac_flipped", want: AuthFailed, change: func(q *request) { q.b = authProbe(t, testKey, 4711); q.b[100] ^= 1 }},
		{name: "no_key_112_octets", want: Replied, change: func(q *request) { q.b = authProbe(t, testKey, 1) }},
		{name: "authenticated_reply_shape", want: LooksLikeReply, change: func(q *request) {
			q.b = authProbe(t, testKey, 4711)
			q.b[32], q.b[80] = 1, 255
			a, _ := stamp.NewAuthenticator(testKey)
			a.Sign(q.b)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testPolicy()
			if c.policy != nil {
				c.policy(&p)
			}
			e := newTestEngine(t, Options{Policy: p})
			q := arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1}, 5))
			if c.change != nil {
				c.change(q)
			}
			before := bytes.Clone(q.b)
			var r reply
			require.Equal(t, c.want.String(), e.process(q, &r).String())

			want := ends(map[Reason]uint64{c.want: 1})
			var got Stats
			if c.want == Replied {
				require.Len(t, r.b, len(before))
				e.sent(&r, 1)
			} else {
				require.Equal(t, before, q.b, "a request that is refused stays as it was")
				require.Zero(t, e.peers.n.Load()+e.strangers.n.Load(), "and makes no session")
			}
			e.count.addTo(&got)
			require.Equal(t, want.Map(), got.Map())
		})
	}
}

func light(p *Policy) { p.TWAMPLight = true }

// Two reflectors that do not know each other's port, and a datagram forged in the name
// of one: whatever its length, their answers to each other come to an end.
func TestNoLoop(t *testing.T) {
	for _, port := range []uint16{stamp.Port, 9000} {
		for n := range 2 * stamp.BaseLen {
			t.Run(fmt.Sprintf("from_%d/%d_octets", port, n), func(t *testing.T) { noLoop(t, port, n) })
		}
	}
}

func noLoop(t *testing.T, port uint16, octets int) {
	o := Options{Policy: Policy{AllowAny: true, TWAMPLight: true, Allow862: true}}
	a, b := newTestEngine(t, o), newTestEngine(t, o)
	src, packet, answers := netip.AddrPortFrom(testPeer.Addr(), port), make([]byte, octets), 0
	for r := (reply{}); answers < 10 && a.process(arrived(src, packet), &r) == Replied; answers++ {
		r.result.Finish(packet, 1, nil)
		a, b = b, a
	}
	require.LessOrEqual(t, answers, 1, "only the forged one")
}

func TestReasonsAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for r := range numReasons {
		require.NotEmpty(t, r.String())
		require.False(t, seen[r.String()], r.String())
		seen[r.String()] = true
	}
	s := Stats{Received: 3}
	require.Len(t, s.Map(), int(numReasons)+12, "no two counters share a name")
	require.Equal(t, "unknown", numReasons.String())
}

// Whatever comes, the length stays, the ends add up, and nothing panics.
func FuzzProcess(f *testing.F) {
	plain := probe(f, stamp.ProbeOptions{SSID: 1, FollowUp: true, TimestampInformation: true, Location: true, Size: 300}, 1)
	f.Add(plain, uint16(20000), false)
	f.Add(plain[:44], uint16(862), true)
	f.Add(plain[:20], uint16(0), true)
	f.Add(authProbe(f, testKey, 4711), uint16(20000), false)
	past := bytes.Clone(plain)
	past[46], past[47] = 255, 255 // a Length past the end
	f.Add(past, uint16(20000), false)
	f.Add(append(bytes.Clone(plain[:44]), 0x80, 1, 0, 0, 0x80, 1, 0, 0, 0x80, 1, 0, 0), uint16(20000), false)
	misplaced := append(bytes.Clone(plain[:44]), make([]byte, stamp.HMACLen)...)
	stamp.PutHMAC(misplaced[44:])
	f.Add(append(misplaced, plain[44:]...), uint16(20000), false)

	p := testPolicy()
	strict := newTestEngine(f, Options{Policy: p})
	p.TWAMPLight, p.AllowAny = true, true
	loose := newTestEngine(f, Options{Policy: p, PeerSessions: 8, SessionsPerPeer: 4, StrangerSessions: 4})
	var total uint64
	f.Fuzz(func(t *testing.T, b []byte, port uint16, any bool) {
		e := strict
		if any {
			e = loose
		}
		e.begin()
		q := arrived(netip.AddrPortFrom(testPeer.Addr(), port), bytes.Clone(b))
		var r reply
		e.mustWait(q.b)
		switch e.process(q, &r) {
		case Replied:
			require.Len(t, r.b, len(b))
			r.result.Finish(r.b, 1, r.auth)
			e.sent(&r, 1)
		default:
			require.Equal(t, b, q.b)
		}
		total++
		var s Stats
		strict.count.addTo(&s)
		loose.count.addTo(&s)
		sum := uint64(0)
		for _, n := range s.Ended {
			sum += n
		}
		require.Equal(t, total, s.Received)
		require.Equal(t, total, sum)
	})
}
