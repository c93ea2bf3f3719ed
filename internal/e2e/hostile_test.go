//go:build linux

package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// udp opens a socket in the host; it ends with the test.
func udp(t testing.TB, h *lab.Host, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answer makes a bare reply to a request, as RFC 8762 section 4.3.1 lays it out, with plausible stamps.
func answer(request []byte) []byte {
	b := make([]byte, 44)
	copy(b, request[:4])
	now := uint64(time.Now().Unix()+2_208_988_800) << 32
	binary.BigEndian.PutUint64(b[4:], now)
	b[12], b[13] = 0, 1
	copy(b[14:16], request[14:16])
	binary.BigEndian.PutUint64(b[16:], now)
	copy(b[24:], request[:14])
	b[40] = 255
	return b
}

// What the evil reflector does with a request is its sequence number modulo the number of tricks.
const (
	honest = iota
	short
	wrongPort
	wrongAddress
	wrongT1
	wrongSSID
	fromTheFuture
	wildStamps
	replayed
	tricks
)

// TestEvilReplies: the target answers most probes with something that is not their reply. It is counted and not
// believed; only the honest answers, the replayed ones (once) and those with senseless stamps (without an RTT) are replies.
// A reflector without counters says no direction. The target beside it does not feel it.
func TestEvilReplies(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		t.Parallel()
		l := lab.ForTest(t, 4)
		h1, h2, h3, h4 := l.Host(1), l.Host(2), l.Host(3), l.Host(4)
		reflect(t, h4)
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		right := udp(t, h2, netip.AddrPortFrom(h2.IPv4, lab.DefaultReflectorPort))
		otherPort := udp(t, h2, netip.AddrPortFrom(h2.IPv4, 8862))
		otherHost := udp(t, h3, netip.AddrPortFrom(h3.IPv4, lab.DefaultReflectorPort))
		var done [tricks]int64 // what was done, by trick
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			first := map[netip.AddrPort][]byte{}
			for b := make([]byte, 2048); ; {
				n, from, err := right.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
				trick := binary.BigEndian.Uint32(b) % tricks
				done[trick]++
				r := answer(b[:n])
				via := right
				switch trick {
				case short:
					r = r[:20]
				case wrongPort:
					via = otherPort
				case wrongAddress:
					via = otherHost
				case wrongT1:
					r[30] ^= 1
				case wrongSSID:
					r[15] ^= 64
				case fromTheFuture:
					binary.BigEndian.PutUint32(r[24:], 1<<30)
				case wildStamps:
					// Sent an hour before it was received, or a day after.
					t2 := binary.BigEndian.Uint64(r[16:])
					binary.BigEndian.PutUint64(r[4:], []uint64{t2 - 3600<<32, t2 + 86400<<32}[done[trick]%2])
				case replayed:
					if first[from] == nil {
						first[from] = r
					}
					// Now its own reply, and then that to a probe of long ago, or of a moment ago.
					_, _ = via.WriteToUDPAddrPort(r, from)
					r = first[from]
				}
				_, _ = via.WriteToUDPAddrPort(r, from)
			}
		}()

		r := runWith(t, h1, ", interfaces: [eth0], mode: "+mode, "targets:\n  evil: {address: 10.77.2.2}\n  honest: {address: 10.77.4.2}\n")
		r.writes(t, "evil", 4)
		r.stop(t)
		require.NoError(t, right.Close())
		<-stopped

		left := requests(t, tap)
		lines := readLines(t, r.output)
		requireHonest(t, lines, left["10.77.4.2"])
		got, _ := pathTo(lines, "evil")
		own := last(t, lines)
		t.Logf("tricks %v: %+v", done, got)
		for trick, n := range done {
			require.Greater(t, n, int64(20), "trick %d", trick)
		}
		var asked int64
		for _, n := range done {
			asked += n
		}
		require.Equal(t, asked, got.Sent)
		require.Equal(t, done[honest]+done[wildStamps]+done[replayed], got.Received+got.Late)
		require.Equal(t, got.Lost, got.LostUnsplit, "a reflector without counters says no direction")
		require.Equal(t, done[wrongT1], got.Corrupted)
		// The agent's own line is as old as its window; the counters of the run's end are in the last one.
		require.Equal(t, done[short], own["collector_reply_short"])
		require.Equal(t, done[wrongPort]+done[wrongAddress]+done[wrongSSID], own["collector_reply_unmatched"])
		require.Equal(t, done[wrongT1], own["collector_reply_t1_mismatch"])
		require.Equal(t, done[replayed]-got.Duplicate+done[fromTheFuture], own["collector_reply_stale"])
		require.Positive(t, own["collector_reply_stale"]-done[fromTheFuture], "replays of what is forgotten")
		require.Equal(t, done[wildStamps], own["collector_reply_bad_stamps"])
		if mode == "tc" {
			// Of the replays those too whose probe the collector has just forgotten.
			believed := got.Received + got.Late + left["10.77.4.2"]
			require.GreaterOrEqual(t, own["kernel_captured"], believed+got.Duplicate)
			require.LessOrEqual(t, own["kernel_captured"], believed+done[replayed], "and no other")
		}
		for _, x := range lines {
			if x.measurement == "llama_path" && x.ints["received"] > 0 {
				require.Less(t, x.floats["rtt_max_us"], 400e3, "no wild stamp is in an RTT")
			}
		}
	})
}

// TestStrangersAtTheProbersPort: foreign datagrams to the ports that probes leave from.
func TestStrangersAtTheProbersPort(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
	reflect(t, h2)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	r := run(t, h1, oneTarget)
	r.writes(t, "one", 1)
	records, err := tap.Stop()
	require.NoError(t, err)
	stranger := udp(t, h3, netip.AddrPortFrom(h3.IPv4, lab.DefaultReflectorPort))
	ports := map[netip.AddrPort]bool{}
	for _, x := range records {
		if x.Direction == lab.FromHost {
			ports[x.Src] = true
		}
	}
	require.Len(t, ports, 2)
	random := rand.NewChaCha8([32]byte{7})
	const each = 200
	var shorts, longs int64
	for i := range each {
		for to := range ports {
			b := make([]byte, i*1400/each)
			_, _ = random.Read(b)
			if len(b) < 44 {
				shorts++
			} else {
				longs++
			}
			_, err := stranger.WriteToUDPAddrPort(b, to)
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	r.writes(t, "one", 4)
	r.stop(t)
	lines := readLines(t, r.output)
	sum, _ := pathTo(lines, "one")
	requireAllBack(t, &sum)
	require.Zero(t, sum.Duplicate+sum.Corrupted)
	own := last(t, lines)
	require.Equal(t, shorts, own["collector_reply_short"])
	require.Equal(t, longs, own["collector_reply_unmatched"])
}

// TestFloodOfGarbage: random datagrams of all sizes from many ports of an allowed stranger, for 1.5 s or more. The
// reflector survives, counts them, and answers the good probes of another host.
func TestFloodOfGarbage(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
	reflector := reflectOverSockets(t, h2)
	to := netip.AddrPortFrom(h2.IPv4, lab.DefaultReflectorPort)
	var from []*net.UDPConn
	for range 64 {
		from = append(from, udp(t, h3, netip.AddrPortFrom(h3.IPv4, 0)))
	}
	low := udp(t, h3, netip.AddrPortFrom(h3.IPv4, 999))
	p := startPing(t, h1, load(4, 100, 20*time.Millisecond, target(h2.IPv4))...)
	random := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 1472)
	sent, empty := 0, 0
	for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond || sent <= 3000; sent++ {
		size := (sent * 7) % (len(b) + 1)
		_, _ = random.Read(b[:size])
		via := from[sent%len(from)]
		if sent%50 == 0 {
			via = low
		}
		if size == 0 {
			empty++
		}
		_, err := via.WriteToUDPAddrPort(b[:size], to)
		require.NoError(t, err)
		if sent%20 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	results, status := p.wait(t)
	require.Zero(t, status, "every good probe was answered")
	require.Equal(t, results[0].allReceived(400), results[0].counts)
	require.False(t, reflector.ended())
	r, status := ping(t, h1, load(1, 5, 10*time.Millisecond, target(h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, r.allReceived(5), r.counts)
	reflector.stop(t)
	t.Logf("%d datagrams of garbage, %d of them empty", sent, empty)
	said := reflector.log.String()
	said = said[strings.Index(said, "msg=reflected"):]
	for _, reason := range []string{"empty=", "short=", "port_low=", "rate_stranger=", "replied="} {
		require.Contains(t, said, reason)
	}
	require.Greater(t, sent, 3000)
}

// TestLargestDatagram: 65,507 octets in fragments to the reflector come back whole or not at all, and harm nobody.
func TestLargestDatagram(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflector := reflect(t, h2)
	c := udp(t, h1, netip.AddrPortFrom(h1.IPv4, 0))
	request := make([]byte, 65_507)
	request[13], request[15] = 1, 9
	to := netip.AddrPortFrom(h2.IPv4, lab.DefaultReflectorPort)
	_, err := c.WriteToUDPAddrPort(request, to)
	require.NoError(t, err)
	b := make([]byte, 1<<16)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	n, from, err := c.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	require.Equal(t, to, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	require.Equal(t, len(request), n, "as long as the request")
	require.EqualValues(t, 9, b[15])
	require.False(t, reflector.ended())
	reflector.signal(t, syscall.SIGTERM)
	<-reflector.done
	require.Contains(t, reflector.log.String(), "replied=1")
}

// TestBrokenTLVs: what a request's TLVs get wrong comes back with the M flag or as it was; sessions of others go on.
func TestBrokenTLVs(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflector := reflect(t, h2)
	c := udp(t, h1, netip.AddrPortFrom(h1.IPv4, 0))
	to := netip.AddrPortFrom(h2.IPv4, lab.DefaultReflectorPort)
	const u, m = 0x80, 0x40
	b := make([]byte, 2048)
	for i, broken := range []struct {
		name string
		tlvs []byte
		flag byte // set on the first TLV of the reply; 0: it is too short to have one, or stays as it was
	}{
		{"length past the end", []byte{u, 5, 0xff, 0xff, 0, 0, 0, 0}, m},
		{"class of service of a wrong length", []byte{u, 4, 0, 2, 0, 0}, m},
		{"unknown type", []byte{u, 200, 0, 4, 1, 2, 3, 4}, u},
		{"header cut short", []byte{u, 1}, 0},
		{"zero lengths in a row", make([]byte, 400), 0},
	} {
		request := make([]byte, 44, 500)
		request[3], request[13], request[15] = byte(i), 1, 1
		request = append(request, broken.tlvs...)
		_, err := c.WriteToUDPAddrPort(request, to)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, _, err := c.ReadFromUDPAddrPort(b)
		require.NoError(t, err, broken.name)
		require.Equal(t, len(request), n, broken.name)
		require.Equal(t, request[:4], b[24:28], broken.name)
		require.Equal(t, broken.flag, b[44]&broken.flag, "%s: flags %#x", broken.name, b[44])
	}
	r, status := ping(t, h1, load(1, 5, 20*time.Millisecond, target(h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, r.allReceived(5), r.counts)
	reflector.stop(t)
	require.Contains(t, reflector.log.String(), " malformed=")
}
