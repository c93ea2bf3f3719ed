package reflector

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// ask lets the engine answer a default probe and returns what the reply says.
func ask(t testing.TB, e *engine, src netip.AddrPort, ssid uint16) (stamp.Reply, Reason) {
	t.Helper()
	q := arrived(src, probe(t, stamp.ProbeOptions{SSID: ssid}, 0))
	var r reply
	why := e.process(q, &r)
	var got stamp.Reply
	if why == Replied {
		r.result.Finish(r.b, 1, r.auth)
		e.sent(&r, 1)
		require.NoError(t, stamp.DecodeReply(r.b, &got))
	}
	return got, why
}

func counted(t testing.TB, e *engine, src netip.AddrPort, ssid uint16) [2]uint32 {
	t.Helper()
	got, why := ask(t, e, src, ssid)
	require.Equal(t, Replied, why)
	require.Equal(t, got.DM.ReflectorTx, got.Seq+1)
	return [2]uint32{got.DM.ReflectorRx, got.DM.ReflectorTx}
}

func TestSessionsAreApart(t *testing.T) {
	e := newTestEngine(t, Options{Policy: testPolicy()})
	other := netip.AddrPortFrom(testPeer.Addr(), testPeer.Port()+1)
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testPeer, 1))
	require.Equal(t, [2]uint32{2, 2}, counted(t, e, testPeer, 1))
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testPeer, 2), "another SSID")
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, other, 1), "another source port")
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testStranger, 1), "another source")
	q := arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1}, 0))
	q.meta.Local = netip.MustParseAddr("10.0.0.99")
	var r reply
	require.Equal(t, Replied, e.process(q, &r))
	require.EqualValues(t, 0, r.result.Seq, "another address of ours")
	require.Equal(t, [2]uint32{3, 3}, counted(t, e, testPeer, 1))
	require.EqualValues(t, 4, e.peers.n.Load())
	require.EqualValues(t, 1, e.strangers.n.Load())
}

// 100,000 sessions of strangers take each other's place and nobody else's.
func TestStrangersCannotEvictPeers(t *testing.T) {
	p := testPolicy()
	p.AllowAny, p.StrangerRate = true, 1e9
	e := newTestEngine(t, Options{Policy: p})
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testPeer, 1))
	b := probe(t, stamp.ProbeOptions{SSID: 1}, 0)
	q := arrived(testStranger, nil)
	var r reply
	for i := range 100_000 {
		q.b = append(q.b[:0], b...)
		src := netip.AddrFrom4([4]byte{192, byte(i >> 12), byte(i >> 4), 1})
		q.src = netip.AddrPortFrom(src, uint16(20000+i&15))
		require.Equal(t, Replied, e.process(q, &r))
		e.sent(&r, 1)
	}
	require.EqualValues(t, DefaultStrangerSessions, e.strangers.n.Load())
	require.EqualValues(t, 100_000-DefaultStrangerSessions, e.strangers.evicted.Load())
	require.LessOrEqual(t, len(e.shared.limiters.bucketed()), DefaultStrangerSessions+1)
	require.Equal(t, [2]uint32{2, 2}, counted(t, e, testPeer, 1))
	require.Zero(t, e.peers.evicted.Load())
}

func TestRefusedByRateIsReceived(t *testing.T) {
	for _, c := range []struct {
		src netip.AddrPort
		why Reason
	}{{testPeer, RatePeer}, {testStranger, RateStranger}} {
		p := testPolicy()
		p.PeerRate, p.StrangerRate = 1, 1 // a burst of 32
		e := newTestEngine(t, Options{Policy: p})
		for range 40 {
			ask(t, e, c.src, 1)
		}
		e.now += int64(time.Second)
		require.Equal(t, [2]uint32{41, 33}, counted(t, e, c.src, 1))
		require.EqualValues(t, 8, e.count.ended[c.why].Load())
		require.EqualValues(t, 33, e.count.ended[Replied].Load())
		require.EqualValues(t, 41, e.count.received.Load())
	}
}

// A peer beyond the table's bound is answered, without counters to believe.
func TestFullTableAnswersStateless(t *testing.T) {
	e := newTestEngine(t, Options{Policy: testPolicy(), PeerSessions: 1})
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testPeer, 1))
	second := netip.MustParseAddrPort("10.0.0.3:20000")
	got, why := ask(t, e, second, 1)
	require.Equal(t, Replied, why)
	require.False(t, got.Has(stamp.TypeDirectMeasurement))
	require.True(t, got.Has(stamp.TypeClassOfService))
	require.EqualValues(t, 1, e.count.stateless.Load())
	e.now += int64(peerIdle)
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, second, 1), "the first was idle for long enough")
}

func TestFailedSendGivesItsNumberBack(t *testing.T) {
	e := newTestEngine(t, Options{Policy: testPolicy()})
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testPeer, 1))
	var r reply
	require.Equal(t, Replied, e.process(arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1}, 0)), &r))
	e.failed(&r, SendForbidden)
	require.Equal(t, [2]uint32{3, 2}, counted(t, e, testPeer, 1))

	// The session is evicted between its reply and the failure: the one that
	// has its memory now is left alone.
	one := newTestEngine(t, Options{Policy: testPolicy(), PeerSessions: 1})
	require.Equal(t, Replied, one.process(arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1}, 0)), &r))
	require.Equal(t, [2]uint32{1, 1}, counted(t, one, testPeer, 2))
	one.failed(&r, SendForbidden)
	require.Equal(t, [2]uint32{2, 2}, counted(t, one, testPeer, 2))
}

func TestUpdateKeepsSessions(t *testing.T) {
	p := testPolicy()
	e := newTestEngine(t, Options{Policy: p})
	swap := func(p Policy) {
		c, err := compile(&p, nil)
		require.NoError(t, err)
		e.shared.policy.Store(c)
		e.begin()
	}
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testPeer, 1))
	require.Equal(t, [2]uint32{1, 1}, counted(t, e, testStranger, 1))
	p.Allow = append(p.Allow, netip.MustParsePrefix("10.0.0.0/8"))
	p.Peers = []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")} // they change places
	swap(p)
	require.Equal(t, [2]uint32{2, 2}, counted(t, e, testPeer, 1))
	require.Equal(t, [2]uint32{2, 2}, counted(t, e, testStranger, 1))
	require.EqualValues(t, 1, e.peers.n.Load())
	require.EqualValues(t, 1, e.strangers.n.Load())

	p.Allow = nil
	swap(p)
	_, why := ask(t, e, testPeer, 1)
	require.Equal(t, NotAllowed, why)
	p.Auth = []Auth{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Key: testKey}}
	swap(p)
	_, why = ask(t, e, testStranger, 1)
	require.Equal(t, AuthMissing, why)
	p.Auth = nil
	swap(p)
	require.Equal(t, [2]uint32{3, 3}, counted(t, e, testStranger, 1))
}

func TestProcessDoesNotAllocate(t *testing.T) {
	p := testPolicy()
	p.PeerRate = 1e9
	e := newTestEngine(t, Options{Policy: p})
	for name, template := range map[string][]byte{
		"plain":         probe(t, stamp.ProbeOptions{SSID: 1}, 0),
		"every_tlv":     probe(t, stamp.ProbeOptions{SSID: 1, FollowUp: true, TimestampInformation: true, Location: true, Size: 1400}, 0),
		"authenticated": authProbe(t, testKey, 4711),
		"refused":       make([]byte, 10),
	} {
		b := make([]byte, len(template))
		q := arrived(testPeer, b)
		var r reply
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			copy(b, template)
			e.begin()
			e.mustWait(b)
			if e.process(q, &r) == Replied {
				r.result.Finish(r.b, 1, r.auth)
				e.sent(&r, 1)
			}
		}), name)
	}
}

// The Location TLV stands behind base, Class of Service and Direct Measurement.
func TestLocationIsReportedAsAllowed(t *testing.T) {
	const ports = stamp.BaseLen + 8 + 16 + stamp.TLVHeaderLen
	for _, hide := range []bool{false, true} {
		p := testPolicy()
		p.HideLocation = hide
		e := newTestEngine(t, Options{Policy: p})
		q := arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1, Location: true}, 0))
		var r reply
		require.Equal(t, Replied, e.process(q, &r))
		want := make([]byte, 4)
		if !hide {
			binary.BigEndian.PutUint16(want, e.port)
			binary.BigEndian.PutUint16(want[2:], testPeer.Port())
		}
		require.Equal(t, want, r.b[ports:ports+4])
		require.Zero(t, r.b[ports-stamp.TLVHeaderLen]&stamp.FlagU, "understood all the same")
	}
}
