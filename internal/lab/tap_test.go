//go:build linux

package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTapSeesBothDirections(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		l := ForTest(t, 2)
		echo(t, l.Host(2))
		c := dial(t, l.Host(1), l.Host(2).Addr(six))
		if six {
			setInt(t, c, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 46<<2|1)
			setInt(t, c, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255)
		} else {
			setInt(t, c, unix.IPPROTO_IP, unix.IP_TOS, 46<<2|1)
			setInt(t, c, unix.IPPROTO_IP, unix.IP_TTL, 255)
		}
		tap, err := l.Fabric().Tap(l.Host(1))
		require.NoError(t, err)
		start := time.Now()
		require.Equal(t, 5, exchange(t, c, 5, time.Second))
		end := time.Now()
		records, err := tap.Stop()
		require.NoError(t, err)
		again, err := tap.Stop()
		require.NoError(t, err, "a second Stop is harmless")
		require.Equal(t, records, again)

		require.Len(t, records, 10)
		h1, h2 := c.LocalAddr().(*net.UDPAddr).AddrPort(), netip.AddrPortFrom(l.Host(2).Addr(six), 7777)
		last := start.UnixNano()
		for i, r := range records {
			require.GreaterOrEqual(t, r.Time, last, "stamps rise")
			last = r.Time
			require.Equal(t, []byte("datagram "+string(rune('0'+i/2))), r.Head)
			require.Equal(t, 10, r.Length)
			if i%2 == 0 {
				require.Equal(t, FromHost, r.Direction)
				require.Equal(t, [2]netip.AddrPort{h1, h2}, [2]netip.AddrPort{r.Src, r.Dst})
				require.Equal(t, [3]uint8{46, 1, 255}, [3]uint8{r.DSCP, r.ECN, r.TTL})
				continue
			}
			require.Equal(t, ToHost, r.Direction)
			require.Equal(t, [2]netip.AddrPort{h2, h1}, [2]netip.AddrPort{r.Src, r.Dst})
			require.Equal(t, [3]uint8{0, 0, 63}, [3]uint8{r.DSCP, r.ECN, r.TTL}, "one router on the way")
		}
		require.LessOrEqual(t, last, end.UnixNano())
	})
}

// A host's own tap sees the same packets, requests before the fabric does and replies after.
func TestTapHost(t *testing.T) {
	l := ForTest(t, 2)
	echo(t, l.Host(2))
	c := dial(t, l.Host(1), l.Host(2).Addr(false))
	own, err := l.Fabric().TapHost(l.Host(1))
	require.NoError(t, err)
	fabric, err := l.Fabric().Tap(l.Host(1))
	require.NoError(t, err)
	require.Equal(t, 5, exchange(t, c, 5, time.Second))
	outer, err := own.Stop()
	require.NoError(t, err)
	inner, err := fabric.Stop()
	require.NoError(t, err)
	require.Len(t, outer, 10)
	require.Len(t, inner, 10)
	for i := range outer {
		require.Equal(t, inner[i].Direction, outer[i].Direction)
		require.Equal(t, inner[i].Head, outer[i].Head)
		if outer[i].Direction == FromHost {
			require.LessOrEqual(t, outer[i].Time, inner[i].Time)
		} else {
			require.GreaterOrEqual(t, outer[i].Time, inner[i].Time)
		}
	}
}

func TestTapKeepsEveryPacketOfABurst(t *testing.T) {
	p := newPair(t, true)
	tap, err := p.lab.Fabric().Tap(p.lab.Host(2))
	require.NoError(t, err)
	count, err := p.lab.Fabric().Count(Rule{To: p.lab.Host(2)})
	require.NoError(t, err)
	const n = 20_000
	p.send(t, n, 1400)
	require.Eventually(t, func() bool { c, _, err := count.Count(); return err == nil && c == n }, 2*time.Second, time.Millisecond)
	records, err := tap.Stop()
	require.NoError(t, err)
	require.Len(t, records, n)
	for _, r := range records {
		require.Equal(t, 1400, r.Length)
		require.Len(t, r.Head, headSize)
	}
}

func TestTapThatDroppedIsAnError(t *testing.T) {
	p := newPair(t, false)
	tap, err := p.lab.Fabric().Tap(p.lab.Host(1))
	require.NoError(t, err)
	close(tap.quit) // end the reader, so that the ring fills
	<-tap.done
	p.send(t, tapFrames+100, 8)
	tap.quit = make(chan struct{})
	_, err = tap.Stop()
	require.ErrorContains(t, err, "packets were dropped")
}

func TestCloseStopsTaps(t *testing.T) {
	l := ForTest(t, 1)
	tap, err := l.Fabric().Tap(l.Host(1))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	<-tap.done
	require.Equal(t, -1, tap.fd)
}

// reflect answers STAMP requests (44 octets, NTP stamps) after the residence.
func reflect(t *testing.T, h *Host, residence time.Duration) {
	t.Helper()
	var conn *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: DefaultReflectorPort})
		return err
	}))
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			t2 := time.Now()
			time.Sleep(residence)
			_, _ = conn.WriteToUDPAddrPort(reply(buf[:n], ntp(t2), ntp(time.Now()), 1), from)
		}
	}()
}

func ntp(at time.Time) uint64 {
	const epoch = 2208988800 // seconds from 1900 to 1970
	return uint64(at.Unix()+epoch)<<32 | uint64(at.Nanosecond())<<32/1e9
}

func request(sequence uint32, ssid uint16) []byte {
	b := make([]byte, 44)
	binary.BigEndian.PutUint32(b, sequence)
	binary.BigEndian.PutUint16(b[12:], 1)
	binary.BigEndian.PutUint16(b[14:], ssid)
	return b
}

func reply(request []byte, t2, t3 uint64, errorEstimate uint16) []byte {
	b := make([]byte, 44)
	binary.BigEndian.PutUint64(b[4:], t3)
	binary.BigEndian.PutUint16(b[12:], errorEstimate)
	copy(b[14:16], request[14:16])
	binary.BigEndian.PutUint64(b[16:], t2)
	copy(b[24:28], request[:4])
	return b
}

func TestTruthTakesTheResidenceOut(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		l := ForTest(t, 2)
		const residence = 3 * time.Millisecond
		reflect(t, l.Host(2), residence)
		var c *net.UDPConn
		require.NoError(t, l.Host(1).Do(func() (err error) {
			c, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: l.Host(2).Addr(six).AsSlice(), Port: DefaultReflectorPort})
			return err
		}))
		defer c.Close()
		tap, err := l.Fabric().Tap(l.Host(1))
		require.NoError(t, err)
		var seen [20]time.Duration // by the prober's own clock, residence included
		buf := make([]byte, 64)
		for i := range seen {
			start := time.Now()
			_, err := c.Write(request(uint32(i), 7))
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(2*time.Second)))
			_, err = c.Read(buf)
			require.NoError(t, err)
			seen[i] = time.Since(start)
		}
		_, err = c.Write(request(99, 7)[:20]) // too short to be a probe
		require.NoError(t, err)
		records, err := tap.Stop()
		require.NoError(t, err)
		truth := RTTTruth(records, TruthOptions{})
		require.Equal(t, Truth{RTTs: truth.RTTs, Requests: 20, Replies: 20}, truth)
		require.Len(t, truth.RTTs, 20)
		for i, r := range truth.RTTs {
			require.Equal(t, uint32(i), r.Sequence)
			require.Equal(t, uint16(7), r.SSID)
			require.Equal(t, l.Host(1).Addr(six), r.Sender.Addr())
			require.Equal(t, netip.AddrPortFrom(l.Host(2).Addr(six), DefaultReflectorPort), r.Reflector)
			require.GreaterOrEqual(t, r.Residence, residence)
			require.Positive(t, r.Network)
			require.Less(t, r.Network+r.Residence, seen[i], "the prober sees more than the wire")
		}
	})
}
