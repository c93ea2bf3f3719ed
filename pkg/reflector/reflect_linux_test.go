package reflector

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// bothFamilies runs f with a reflector of its own on each loopback address.
func bothFamilies(t *testing.T, o Options, f func(t *testing.T, r *Reflector, to netip.AddrPort)) {
	for _, a := range []netip.Addr{loopback4, loopback6} {
		t.Run(a.String(), func(t *testing.T) {
			o.Listen = []netip.AddrPort{anyPort(a)}
			if o.Policy.Peers == nil && o.Policy.Allow == nil {
				o.Policy.Peers = loopbacks
			}
			r := start(t, o)
			f(t, r, r.Addrs()[0])
		})
	}
}

func TestReflects(t *testing.T) {
	bothFamilies(t, Options{}, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		for i := range uint32(3) {
			t1 := time.Now().UnixNano()
			got := c.exchange(to, probe(t, stamp.ProbeOptions{SSID: 7}, 100+i))
			t4 := time.Now().UnixNano()
			require.Equal(t, i, got.Seq)
			require.Equal(t, 100+i, got.SenderSeq)
			require.EqualValues(t, 7, got.SSID)
			require.Equal(t, stamp.DirectMeasurement{SenderTx: 101 + i, ReflectorRx: 1 + i, ReflectorTx: 1 + i}, got.DM)
			t2, t3 := stamp.NTP.UnixNano(got.ReceiveTimestamp, t1), stamp.NTP.UnixNano(got.Timestamp, t1)
			require.LessOrEqual(t, t1, t2)
			require.LessOrEqual(t, t2, t3)
			require.LessOrEqual(t, t3, t4)
		}
		want := ends(map[Reason]uint64{Replied: 3})
		want.PeerSessions = 1
		eventually(t, r, want)
	})
}

func TestClassAndHops(t *testing.T) {
	o := Options{Policy: Policy{DenyDSCP: 1 << 12}}
	bothFamilies(t, o, func(t *testing.T, _ *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		for _, w := range []struct {
			probe stamp.ProbeOptions
			tos   uint8
			want  uint8 // TOS of the reply
			cos   stamp.ClassOfService
		}{
			{stamp.ProbeOptions{NoTLV: true}, 46<<2 | 1, 46 << 2, stamp.ClassOfService{}},
			{stamp.ProbeOptions{DSCP1: 46}, 46<<2 | 2, 46 << 2, stamp.ClassOfService{DSCP1: 46, DSCP2: 46, ECN: 2}},
			{stamp.ProbeOptions{DSCP1: 10}, 8 << 2, 10 << 2, stamp.ClassOfService{DSCP1: 10, DSCP2: 8}},
			{stamp.ProbeOptions{DSCP1: 0}, 8 << 2, 0, stamp.ClassOfService{DSCP2: 8}},
			{stamp.ProbeOptions{DSCP1: 12}, 8 << 2, 8 << 2, stamp.ClassOfService{DSCP1: 12, DSCP2: 8, RP: 1}},
			{stamp.ProbeOptions{NoTLV: true}, 0, 0, stamp.ClassOfService{}},
		} {
			c.send(to, probe(t, w.probe, 0), w.tos, 33)
			b, _, m := c.recv()
			var got stamp.Reply
			require.NoError(t, stamp.DecodeReply(b, &got))
			require.Equal(t, w.want, m.TOS)
			require.EqualValues(t, 255, m.TTL)
			require.EqualValues(t, 33, got.SenderTTL)
			require.Equal(t, w.cos, got.CoS)
		}
	})
}

// A wildcard answers on both families and every address, from the one asked.
func TestAnswersFromTheAddressAsked(t *testing.T) {
	r := start(t, Options{Listen: []netip.AddrPort{{}, {}}, Policy: Policy{Peers: loopbacks}})
	require.Len(t, r.Addrs(), 4, "two ports, two families")
	for _, a := range r.Addrs() {
		asked := []string{"127.0.0.1", "127.0.0.2", "127.200.0.9"}
		if a.Addr().Is6() {
			asked = []string{"::1"}
		}
		c := dial(t, anyPort(a.Addr()))
		for _, s := range asked {
			got := c.exchange(netip.AddrPortFrom(netip.MustParseAddr(s), a.Port()), probe(t, stamp.ProbeOptions{}, 9))
			require.Zero(t, got.Seq, "a session for each address")
		}
	}
}

// Every length that a datagram can have comes back as it went, in fragments
// where it came in fragments (over ::1 a datagram of 65,507 octets does).
func TestSizes(t *testing.T) {
	bothFamilies(t, Options{}, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		sizes := []int{68, 72, 1280, 1472, 9000, 65_487, 65_507}
		for i, n := range sizes {
			b := probe(t, stamp.ProbeOptions{SSID: 1, Size: n, PaddingSeed: 7}, 0)
			c.send(to, b, 0, 64)
			got, _, _ := c.recv()
			require.Len(t, got, n)
			require.Equal(t, b[min(72, n):], got[min(72, n):], "the padding is copied")
			require.EqualValues(t, i, stampSeq(t, got))
		}
		want := ends(map[Reason]uint64{Replied: uint64(len(sizes))})
		want.PeerSessions = 1
		eventually(t, r, want)
	})
}

func stampSeq(t *testing.T, b []byte) uint32 {
	var p stamp.ReflectorPacket
	require.NoError(t, stamp.DecodeReflector(&p, b))
	return p.Seq
}

// What must not be answered is counted, once and under its name, and answers to
// what may be go on.
func TestBadInputOverSockets(t *testing.T) {
	bothFamilies(t, Options{}, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		good := probe(t, stamp.ProbeOptions{SSID: 1}, 0)
		c.send(to, nil, 0, 64)
		for n := 1; n < 44; n++ {
			c.send(to, good[:n], 0, 64)
		}
		loop := append([]byte(nil), good...)
		loop[16], loop[40] = 1, 1
		c.send(to, loop, 0, 64)
		past := append([]byte(nil), good...)
		past[54] = 255 // Length of the second TLV
		malformed := c.exchange(to, past)
		require.True(t, malformed.Malformed)
		zeroes := append(append([]byte(nil), good[:44]...), 0x80, 1, 0, 0, 0x80, 1, 0, 0, 0x80, 1, 0, 0)
		require.Equal(t, 3, c.exchange(to, zeroes).TLVs)
		misplaced := append(append([]byte(nil), good[:44]...), make([]byte, stamp.HMACLen)...)
		stamp.PutHMAC(misplaced[44:])
		require.True(t, c.exchange(to, append(misplaced, good[44:]...)).Integrity)
		require.EqualValues(t, 3, c.exchange(to, good).Seq)
		c.silent()
		want := ends(map[Reason]uint64{Empty: 1, Short: 43, LooksLikeReply: 1, Replied: 4})
		want.PeerSessions, want.Malformed, want.Integrity = 1, 1, 1
		eventually(t, r, want)
	})
}

func TestTWAMPLight(t *testing.T) {
	o := Options{Policy: Policy{TWAMPLight: true}}
	bothFamilies(t, o, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		good := probe(t, stamp.ProbeOptions{}, 77)
		c.send(to, good[:40], 0, 64)
		for i, n := range []int{41, 42, 43} {
			c.send(to, good[:n], 0, 64)
			b, _, _ := c.recv()
			require.Len(t, b, n)
			var whole [44]byte
			copy(whole[:], b)
			require.EqualValues(t, i, stampSeq(t, whole[:]))
			require.EqualValues(t, 77, whole[27], "the sender's sequence number")
		}
		want := ends(map[Reason]uint64{Short: 1, Replied: 3})
		want.PeerSessions = 1
		eventually(t, r, want)
	})
}

func TestAuthenticated(t *testing.T) {
	o := Options{Policy: Policy{Auth: []Auth{{SSID: 4711, Key: testKey}}}}
	bothFamilies(t, o, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		a, err := stamp.NewAuthenticator(testKey)
		require.NoError(t, err)
		for i := range uint32(2) {
			c.send(to, authProbe(t, testKey, 4711), 0, 64)
			b, _, _ := c.recv()
			var got stamp.Reply
			require.NoError(t, stamp.DecodeReplyAuth(b, &got, stamp.Authenticated, a))
			require.Equal(t, i, got.Seq)
			require.Equal(t, i+1, got.DM.ReflectorRx)
			require.NotZero(t, got.Timestamp)
		}
		c.send(to, authProbe(t, []byte("forged"), 4711), 0, 64)
		c.send(to, probe(t, stamp.ProbeOptions{SSID: 4711}, 0), 0, 64)
		require.Zero(t, c.exchange(to, probe(t, stamp.ProbeOptions{SSID: 1}, 0)).Seq, "without a key, without HMAC")
		c.silent()
		want := ends(map[Reason]uint64{Replied: 3, AuthFailed: 1, AuthMissing: 1})
		want.PeerSessions = 2
		eventually(t, r, want)
	})
}

func TestPolicyUpdateOverSockets(t *testing.T) {
	bothFamilies(t, Options{}, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		c := dial(t, anyPort(to.Addr()))
		b := probe(t, stamp.ProbeOptions{}, 0)
		require.EqualValues(t, 0, c.exchange(to, b).Seq)
		require.NoError(t, r.Update(Policy{}))
		c.send(to, b, 0, 64)
		want := ends(map[Reason]uint64{Replied: 1, NotAllowed: 1})
		want.PeerSessions = 1
		eventually(t, r, want)
		require.Error(t, r.Update(Policy{AllowAny: true, Auth: []Auth{{}}}), "an empty key")
		c.send(to, b, 0, 64)
		want.Received, want.Ended[NotAllowed] = 3, 2
		eventually(t, r, want)
		require.NoError(t, r.Update(Policy{Peers: loopbacks}))
		require.EqualValues(t, 1, c.exchange(to, b).Seq, "the session is still there")
	})
}

// Each flow is with one worker, whose replies are numbered without a gap.
func TestManyFlowsOverWorkers(t *testing.T) {
	bothFamilies(t, Options{Workers: 2}, func(t *testing.T, r *Reflector, to netip.AddrPort) {
		require.Len(t, r.workers, 2)
		clients := make([]*client, 64)
		for i := range clients {
			clients[i] = dial(t, anyPort(to.Addr()))
		}
		for n := range uint32(20) {
			for _, c := range clients {
				c.send(to, probe(t, stamp.ProbeOptions{}, n), 0, 64)
			}
			for _, c := range clients {
				b, _, _ := c.recv()
				require.Equal(t, n, stampSeq(t, b))
			}
		}
		want := ends(map[Reason]uint64{Replied: 20 * 64})
		want.PeerSessions = 64
		eventually(t, r, want)
		for _, w := range r.workers {
			require.NotZero(t, w.count.received.Load())
		}
	})
}

// Requests that wait when the workers begin are one batch; Follow-Up Telemetry
// tells of the reply before nevertheless.
func TestFollowUpWithinBatch(t *testing.T) {
	r, err := New(Options{Workers: 1, Listen: []netip.AddrPort{anyPort(loopback4)},
		Policy: Policy{Peers: loopbacks}}, discard)
	require.NoError(t, err)
	c := dial(t, anyPort(loopback4))
	b := probe(t, stamp.ProbeOptions{FollowUp: true}, 0)
	for range 5 {
		c.send(r.Addrs()[0], b, 0, 64)
	}
	run(t, r)
	var last stamp.Reply
	for i := range uint32(5) {
		got, _, _ := c.recv()
		var now stamp.Reply
		require.NoError(t, stamp.DecodeReply(got, &now))
		require.Equal(t, i, now.Seq)
		if i == 0 {
			require.Equal(t, stamp.FollowUp{}, now.FollowUp)
		} else {
			require.Equal(t, stamp.FollowUp{Seq: last.Seq, Timestamp: last.Timestamp, Method: stamp.MethodSW}, now.FollowUp)
		}
		last = now
	}
}

// ICMP errors for replies to sockets that are gone take nothing from others.
func TestClientThatIsGone(t *testing.T) {
	for _, a := range []netip.Addr{loopback4, loopback6} {
		r, err := New(Options{Workers: 1, Listen: []netip.AddrPort{anyPort(a)},
			Policy: Policy{Peers: loopbacks}}, discard)
		require.NoError(t, err)
		to := r.Addrs()[0]
		c := dial(t, anyPort(a))
		b := probe(t, stamp.ProbeOptions{}, 0)
		const gone = 20
		var fds []int
		for range gone {
			fd, err := sock.Open(sock.Options{Bind: anyPort(a)})
			require.NoError(t, err)
			x := *c
			x.fd = fd
			x.send(to, b, 0, 64)
			c.send(to, b, 0, 64)
			fds = append(fds, fd)
		}
		for _, fd := range fds {
			require.NoError(t, unix.Close(fd)) // before anything is answered
		}
		run(t, r)
		for i := range uint32(gone) {
			got, _, _ := c.recv()
			require.Equal(t, i, stampSeq(t, got))
		}
		require.EqualValues(t, gone, c.exchange(to, b).Seq)
		want := ends(map[Reason]uint64{Replied: 2*gone + 1})
		want.PeerSessions, want.ICMPErrors = gone+1, gone
		eventually(t, r, want)
	}
}

// The whole path of a batch: receive, process, stamp, send.
func TestBatchDoesNotAllocate(t *testing.T) {
	for _, a := range []netip.Addr{loopback4, loopback6} {
		r, err := New(Options{Workers: 1, Listen: []netip.AddrPort{anyPort(a)},
			Policy: Policy{Peers: loopbacks, PeerRate: 1e9}}, discard)
		require.NoError(t, err)
		w := r.workers[0]
		c := dial(t, anyPort(a))
		out, in := sock.NewBatch(batchLen, 2048), sock.NewBatch(batchLen, 2048)
		b := probe(t, stamp.ProbeOptions{}, 0)
		to := sock.NewSockaddr(r.Addrs()[0])
		for i := range batchLen {
			copy(out.Buffer(i), b)
			out.SetLen(i, len(b))
			out.SetAddr(i, &to)
			out.SetControl(i, a.Is6(), &sock.Outgoing{TOS: 46 << 2, TTL: 64})
		}
		replies := 0
		allocs := testing.AllocsPerRun(200, func() {
			if n, errno := out.Send(c.fd, 0, batchLen); n != batchLen {
				t.Fatal(errno)
			}
			n, errno := w.rx.Recv(w.fd, unix.MSG_DONTWAIT)
			if errno != 0 {
				t.Fatal(errno)
			}
			w.answerBatch(n)
			n, errno = in.Recv(c.fd, unix.MSG_WAITFORONE)
			if errno != 0 {
				t.Fatal(errno)
			}
			replies += n
		})
		require.Zero(t, allocs)
		require.Equal(t, 201*batchLen, replies)
		require.NoError(t, r.Close())
	}
}
