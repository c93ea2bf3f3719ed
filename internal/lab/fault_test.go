//go:build linux

package lab

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pair is a socket on h1 that sends to a silent socket on h2.
type pair struct {
	lab      *Lab
	from, to *net.UDPConn
	six      bool
}

func newPair(t *testing.T, six bool) *pair {
	t.Helper()
	return pairIn(t, ForTest(t, 2), six)
}

func pairIn(t *testing.T, l *Lab, six bool) *pair {
	t.Helper()
	p := &pair{lab: l, six: six}
	require.NoError(t, l.Host(2).Do(func() (err error) {
		p.to, err = net.ListenUDP("udp", &net.UDPAddr{IP: l.Host(2).Addr(six).AsSlice(), Port: 7777})
		return err
	}))
	t.Cleanup(func() { _ = p.to.Close() })
	require.NoError(t, p.to.SetReadBuffer(1<<20))
	p.from = dial(t, l.Host(1), l.Host(2).Addr(six))
	return p
}

func (p *pair) send(t *testing.T, n, size int) {
	t.Helper()
	for range n {
		_, err := p.from.Write(make([]byte, size))
		require.NoError(t, err)
	}
}

// received reads exactly so many datagrams, and no more may be there.
func (p *pair) received(t *testing.T, want int) {
	t.Helper()
	for i := range want {
		require.True(t, p.read(t, 2*time.Second), "datagram %d of %d", i+1, want)
	}
	require.False(t, p.read(t, 20*time.Millisecond), "more than %d datagrams", want)
}

func (p *pair) read(t *testing.T, wait time.Duration) bool {
	t.Helper()
	require.NoError(t, p.to.SetReadDeadline(time.Now().Add(wait)))
	_, err := p.to.Read(make([]byte, 2048))
	if os.IsTimeout(err) {
		return false
	}
	require.NoError(t, err)
	return true
}

// requireCount waits for the figures: on a busy machine the forwarding is a softirq behind the send.
func requireCount(t *testing.T, f *Fault, packets, octets uint64) {
	t.Helper()
	want := [2]uint64{packets, octets}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		p, o, err := f.Count()
		require.NoError(c, err)
		require.Equal(c, want, [2]uint64{p, o})
	}, 2*time.Second, time.Millisecond)
}

// ipSize is the size of a UDP packet with its headers.
func ipSize(six bool, payload int) uint64 {
	if six {
		return uint64(40 + 8 + payload)
	}
	return uint64(20 + 8 + payload)
}

func TestDropCountsExactly(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		p := newPair(t, six)
		f := p.lab.Fabric()
		count, err := f.Count(Rule{From: p.lab.Host(1), To: p.lab.Host(2), DstPort: 7777})
		require.NoError(t, err)

		tenth, err := f.Drop(Rule{To: p.lab.Host(2), DstPort: 7777, Every: 10})
		require.NoError(t, err)
		p.send(t, 105, 100)
		p.received(t, 95)
		requireCount(t, tenth, 10, 10*ipSize(six, 100))
		requireCount(t, count, 95, 95*ipSize(six, 100))
		require.NoError(t, tenth.Remove())
		requireCount(t, tenth, 10, 10*ipSize(six, 100))

		all, err := f.Drop(Rule{From: p.lab.Host(1), Ratio: 1})
		require.NoError(t, err)
		p.send(t, 20, 8)
		p.received(t, 0)
		requireCount(t, all, 20, 20*ipSize(six, 8))
		require.NoError(t, all.Remove())
		require.NoError(t, all.Remove(), "a second Remove is harmless")
		p.send(t, 5, 8)
		p.received(t, 5)
		requireCount(t, count, 100, 95*ipSize(six, 100)+5*ipSize(six, 8))
	})
}

func TestDropByRatioAgreesWithTheCounter(t *testing.T) {
	p := newPair(t, false)
	half, err := p.lab.Fabric().Drop(Rule{To: p.lab.Host(2), Ratio: 0.5})
	require.NoError(t, err)
	p.send(t, 400, 8)
	got := 0
	for p.read(t, 200*time.Millisecond) {
		got++
	}
	require.InDelta(t, 200, got, 80, "8 standard deviations")
	requireCount(t, half, uint64(400-got), uint64(400-got)*ipSize(false, 8))
}

func TestRulesMatchNarrowly(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		p := newPair(t, six)
		h1, h2 := p.lab.Host(1), p.lab.Host(2)
		own := uint16(p.from.LocalAddr().(*net.UDPAddr).Port)
		rules := map[string]struct {
			rule Rule
			hits uint64
		}{
			"reverse":        {Rule{From: h2, To: h1}, 0},
			"other class":    {Rule{DSCP: DSCP(46)}, 0},
			"class 0":        {Rule{DSCP: DSCP(0)}, 3},
			"source port":    {Rule{SrcPort: own}, 3},
			"other port":     {Rule{SrcPort: own + 1}, 0},
			"size at limit":  {Rule{LongerThan: int(ipSize(six, 100))}, 0},
			"size below":     {Rule{LongerThan: int(ipSize(six, 100)) - 1}, 3},
			"payload":        {Rule{}.PayloadByte(4, 0), 3},
			"other payload":  {Rule{}.PayloadByte(4, 1), 0},
			"beyond payload": {Rule{}.PayloadByte(100, 0), 0},
			"right family":   {Rule{Family: map[bool]Family{false: V4, true: V6}[six]}, 3},
			"wrong family":   {Rule{Family: map[bool]Family{false: V6, true: V4}[six]}, 0},
		}
		counts := map[string]*Fault{}
		for name, r := range rules {
			var err error
			counts[name], err = p.lab.Fabric().Count(r.rule)
			require.NoError(t, err)
		}
		p.send(t, 3, 100)
		p.received(t, 3)
		for name, r := range rules {
			packets, _, err := counts[name].Count()
			require.NoError(t, err)
			require.Equal(t, r.hits, packets, name)
		}
	})
}

func TestBadRules(t *testing.T) {
	l, other := ForTest(t, 1), ForTest(t, 1)
	for _, r := range []Rule{
		{Ratio: 1.1}, {Ratio: -1}, {Ratio: 1e-9}, {Ratio: 0.5, Every: 2}, {DSCP: DSCP(64)}, {LongerThan: -1},
		{Family: 5}, {To: other.Host(1)},
	} {
		_, err := l.Fabric().Drop(r)
		require.Error(t, err, "%+v", r)
	}
	_, err := l.Fabric().Rewrite(Rule{}, 64)
	require.Error(t, err)
	_, err = l.Fabric().Duplicate(Rule{})
	require.Error(t, err)
}

func TestRewriteIsSeenByTheReceiver(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		p := newPair(t, six)
		level, set, ask := unix.IPPROTO_IP, unix.IP_TOS, unix.IP_RECVTOS
		if six {
			level, set, ask = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS
		}
		setInt(t, p.from, level, set, 46<<2|2) // and ECN, which must stay
		setInt(t, p.to, level, ask, 1)
		f, err := p.lab.Fabric().Rewrite(Rule{To: p.lab.Host(2), DSCP: DSCP(46)}, 10)
		require.NoError(t, err)

		class := func() int {
			p.send(t, 1, 8)
			buf, oob := make([]byte, 64), make([]byte, 64)
			require.NoError(t, p.to.SetReadDeadline(time.Now().Add(2*time.Second)))
			_, n, _, _, err := p.to.ReadMsgUDP(buf, oob)
			require.NoError(t, err)
			messages, err := unix.ParseSocketControlMessage(oob[:n])
			require.NoError(t, err)
			require.Len(t, messages, 1)
			return int(messages[0].Data[0])
		}
		require.Equal(t, 10<<2|2, class())
		require.NoError(t, f.Remove())
		require.Equal(t, 46<<2|2, class())
		requireCount(t, f, 1, ipSize(six, 8))
	})
}

func setInt(t *testing.T, c *net.UDPConn, level, option, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var setErr error
	require.NoError(t, raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), level, option, value) }))
	require.NoError(t, setErr)
}

func TestDuplicate(t *testing.T) {
	Require(t, Duplication)
	families(t, func(t *testing.T, six bool) {
		p := newPair(t, six)
		third, err := p.lab.Fabric().Duplicate(Rule{To: p.lab.Host(2), Every: 3})
		require.NoError(t, err)
		p.send(t, 9, 8)
		p.received(t, 12)
		requireCount(t, third, 3, 3*ipSize(six, 8))
	})
}

func TestRejectReachesTheSender(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		p := newPair(t, six)
		for why, want := range map[Unreachable]error{
			PortUnreachable: unix.ECONNREFUSED,
			HostUnreachable: unix.EHOSTUNREACH,
		} {
			f, err := p.lab.Fabric().Reject(Rule{To: p.lab.Host(2)}, why)
			require.NoError(t, err)
			setReceiveErrors(t, p.from, six)
			for range 50 { // far beyond the kernel's default of one a second
				_, err := p.from.Write(make([]byte, 8))
				require.NoError(t, err)
				require.NoError(t, p.from.SetReadDeadline(time.Now().Add(2*time.Second)))
				_, err = p.from.Read(make([]byte, 8))
				require.ErrorIs(t, err, want)
				drainErrors(t, p.from)
			}
			requireCount(t, f, 50, 50*ipSize(six, 8))
			require.NoError(t, f.Remove())
		}
	})
}

// setReceiveErrors lets soft errors (host unreachable) through to the socket.
func setReceiveErrors(t *testing.T, c *net.UDPConn, six bool) {
	t.Helper()
	if six {
		setInt(t, c, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		return
	}
	setInt(t, c, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

func drainErrors(t *testing.T, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		for err == nil {
			_, _, _, _, err = unix.Recvmsg(int(fd), make([]byte, 64), make([]byte, 256), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		}
	}))
}

func TestHeal(t *testing.T) {
	p := newPair(t, false)
	f, err := p.lab.Fabric().Drop(Rule{})
	require.NoError(t, err)
	_, err = p.lab.Fabric().Drop(Rule{DSCP: DSCP(0)})
	require.NoError(t, err)
	p.send(t, 2, 8)
	requireCount(t, f, 2, 2*ipSize(false, 8))
	require.NoError(t, p.lab.Fabric().Heal())
	requireCount(t, f, 2, 2*ipSize(false, 8))
	p.send(t, 1, 8)
	p.received(t, 1)
}

func TestRate(t *testing.T) {
	Require(t, TokenBucket)
	p := pairIn(t, WithOptions(t, Options{Hosts: 2, IPv4Only: true}), false)
	// 10 packets of 1,014 octets (with Ethernet) pass by the burst, ten more wait in the queue.
	limit, err := p.lab.Fabric().Rate(p.lab.Host(2), 1_000_000, 10_140, 10_140)
	require.NoError(t, err)
	p.send(t, 100, 1000-28)
	start, got := time.Now(), 0
	for p.read(t, 200*time.Millisecond) {
		got++
	}
	require.Greater(t, time.Since(start), (200+60)*time.Millisecond, "ten packets at 8.1 ms each")
	dropped, err := limit.Dropped()
	require.NoError(t, err)
	require.Equal(t, 100, got+int(dropped))
	require.InDelta(t, 20, got, 10, "burst and queue")
	require.NoError(t, limit.Remove())
	p.send(t, 100, 1000-28)
	p.received(t, 100)
}

func TestLinksComeBack(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		p := newPair(t, six)
		h2, f := p.lab.Host(2), p.lab.Fabric()
		for name, s := range map[string]struct{ down, up func() error }{
			"cable":     {func() error { return f.LinkDown(h2) }, func() error { return f.LinkUp(h2) }},
			"interface": {h2.LinkDown, h2.LinkUp},
		} {
			require.NoError(t, s.down(), name)
			_, _ = p.from.Write([]byte("into the void"))
			p.received(t, 0)
			require.NoError(t, s.up(), name)
			drainErrors(t, p.from)
			p.sendThrough(t)
		}
		require.NoError(t, p.lab.Host(1).LinkDown())
		_, err := p.from.Write([]byte("no route"))
		require.ErrorIs(t, err, unix.ENETUNREACH)
		require.NoError(t, p.lab.Host(1).LinkUp())
		p.sendThrough(t)
	})
}

// sendThrough sends once; a pending ICMP error of earlier packets is reported by one send and then gone.
func (p *pair) sendThrough(t *testing.T) {
	t.Helper()
	if _, err := p.from.Write([]byte("x")); err != nil {
		p.send(t, 1, 1)
	}
	p.received(t, 1)
}

func TestAddressChanges(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		l := ForTest(t, 2)
		h := l.Host(2)
		echo(t, h)
		old := dial(t, l.Host(1), h.Addr(six))
		require.Equal(t, 1, exchange(t, old, 1, time.Second))
		if six {
			require.NoError(t, h.SetIPv6(h6(2, 9)))
			require.Equal(t, "fd77:0:0:2::9", h.IPv6.String())
		} else {
			require.NoError(t, h.SetIPv4(h4(2, 9)))
			require.Equal(t, "10.77.2.9", h.IPv4.String())
		}
		require.Equal(t, 1, exchange(t, dial(t, l.Host(1), h.Addr(six)), 1, time.Second))
		require.Equal(t, 0, exchange(t, old, 1, 20*time.Millisecond), "the old address is gone")
		require.Error(t, h.SetIPv4(h4(3, 2)), "outside of the subnet")
		require.Error(t, h.SetIPv4(h4(2, 1)), "the gateway's")
	})
}
