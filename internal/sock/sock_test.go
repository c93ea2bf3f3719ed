package sock

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var loopbacks = []string{"127.0.0.1", "::1"}

func open(t *testing.T, o Options) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return fd, netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return fd, netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	t.Fatal("not a UDP socket")
	return -1, at
}

// Two datagrams in one batch with marks of their own, and what the kernel says
// of them at both ends.
func TestMarksAndStampsAPacket(t *testing.T) {
	for _, ip := range loopbacks {
		bind := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
		tx, from := open(t, Options{Bind: bind, TxStamps: true})
		rx, to := open(t, Options{Bind: bind, LocalAddr: true})
		AwaitStamps()
		out, in := NewBatch(3, 100), NewBatch(4, 100)
		dest := NewSockaddr(to)
		marks := []Outgoing{{TOS: 46 << 2, TTL: 255}, {}, {TOS: 8 << 2, TTL: 3}}
		before := time.Now().UnixNano()
		for i, m := range marks {
			out.Buffer(i)[0] = byte('a' + i)
			out.SetLen(i, 1+i)
			out.SetAddr(i, &dest)
			out.SetControl(i, bind.Addr().Is6(), &m)
		}
		n, errno := out.Send(tx, 0, 3)
		require.Zero(t, errno)
		require.Equal(t, 3, n)
		n, errno = in.Recv(rx, unix.MSG_DONTWAIT)
		require.Zero(t, errno)
		require.Equal(t, 3, n)
		var m Meta
		for i, want := range marks {
			in.Meta(i, &m)
			require.Equal(t, want.TOS, m.TOS)
			if want.TTL != 0 {
				require.Equal(t, want.TTL, m.TTL)
			}
			require.Equal(t, bind.Addr(), m.Local)
			require.NotZero(t, m.IfIndex)
			require.Equal(t, from, in.Addr(i))
			require.Len(t, in.Payload(i), 1+i)
			require.Equal(t, byte('a'+i), in.Payload(i)[0])
			require.LessOrEqual(t, before, m.Stamp)
			require.LessOrEqual(t, m.Stamp, time.Now().UnixNano())
		}
		errs := NewBatch(4, 256)
		n, errno = errs.Recv(tx, unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE)
		require.Zero(t, errno)
		require.Equal(t, 3, n, "one transmit stamp a datagram")
		for i := range n {
			errs.Meta(i, &m)
			require.EqualValues(t, unix.SO_EE_ORIGIN_TIMESTAMPING, m.Error.Origin)
			require.LessOrEqual(t, before, m.Stamp)
			frame := errs.Payload(i)
			require.Equal(t, byte('a'+i), frame[len(frame)-1-i], "the datagram comes back whole")
		}
		_, errno = in.Recv(rx, unix.MSG_DONTWAIT)
		require.Equal(t, unix.EAGAIN, errno)
	}
}

func TestICMPErrorQuotesTheDatagram(t *testing.T) {
	for _, ip := range loopbacks {
		bind := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
		tx, _ := open(t, Options{Bind: bind, RecvErr: true})
		nobody, err := Open(Options{Bind: bind})
		require.NoError(t, err)
		sa, err := unix.Getsockname(nobody)
		require.NoError(t, err)
		require.NoError(t, unix.Close(nobody))
		require.NoError(t, unix.Sendto(tx, []byte("quoted"), 0, sa))
		b := NewBatch(1, 100)
		n, errno := b.Recv(tx, unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE)
		require.Zero(t, errno)
		require.Equal(t, 1, n)
		var m Meta
		b.Meta(0, &m)
		require.Equal(t, unix.ECONNREFUSED, m.Error.Errno)
		require.Equal(t, bind.Addr(), m.Offender)
		require.Equal(t, bind.Addr(), b.Addr(0).Addr())
		require.Equal(t, "quoted", string(b.Payload(0)))
	}
}

func TestDropsCountsWhatTheBufferCouldNotHold(t *testing.T) {
	bind := netip.MustParseAddrPort("127.0.0.1:0")
	tx, _ := open(t, Options{Bind: bind})
	rx, to := open(t, Options{Bind: bind, RecvBuffer: 4096})
	out := NewBatch(64, 100)
	dest := NewSockaddr(to)
	for i := range 64 {
		out.SetLen(i, 100)
		out.SetAddr(i, &dest)
		out.SetControl(i, false, &Outgoing{})
	}
	n, errno := out.Send(tx, 0, 64)
	require.Zero(t, errno)
	require.Equal(t, 64, n)
	drops, err := Drops(rx)
	require.NoError(t, err)
	in := NewBatch(64, 100)
	got, _ := in.Recv(rx, unix.MSG_DONTWAIT)
	require.Positive(t, drops)
	require.EqualValues(t, 64, int(drops)+got)
}

func TestTruncatedIsSaid(t *testing.T) {
	bind := netip.MustParseAddrPort("127.0.0.1:0")
	tx, _ := open(t, Options{Bind: bind})
	rx, to := open(t, Options{Bind: bind})
	sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	require.NoError(t, unix.Sendto(tx, make([]byte, 40), 0, sa))
	require.NoError(t, unix.Sendto(tx, make([]byte, 20), 0, sa))
	b := NewBatch(2, 20)
	n, _ := b.Recv(rx, unix.MSG_DONTWAIT)
	require.Equal(t, 2, n)
	require.True(t, b.Truncated(0))
	require.Len(t, b.Payload(0), 20)
	require.False(t, b.Truncated(1))
}

func TestTimerSleepsToTheTime(t *testing.T) {
	timer, err := NewTimer()
	require.NoError(t, err)
	defer timer.Close()
	var ts unix.Timespec
	mono := func() int64 {
		require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
		return ts.Nano()
	}
	for _, d := range []int64{0, -5e6, 3e5, 2e6} {
		until := mono() + d
		require.NoError(t, timer.SleepUntil(until))
		require.GreaterOrEqual(t, mono(), until)
	}
}

func TestBatchDoesNotAllocate(t *testing.T) {
	bind := netip.MustParseAddrPort("[::1]:0")
	tx, _ := open(t, Options{Bind: bind})
	rx, to := open(t, Options{Bind: bind})
	out, in := NewBatch(8, 100), NewBatch(8, 100)
	dest := NewSockaddr(to)
	var m Meta
	received := 0
	require.Zero(t, testing.AllocsPerRun(50, func() {
		for i := range 8 {
			out.SetLen(i, 68)
			out.SetAddr(i, &dest)
			out.SetControl(i, true, &Outgoing{TOS: 4, TTL: 9, Source: to.Addr()})
		}
		out.Send(tx, 0, 8)
		n, _ := in.Recv(rx, unix.MSG_DONTWAIT)
		for i := range n {
			in.Meta(i, &m)
			_ = in.Addr(i)
		}
		received += n
	}))
	require.Equal(t, 51*8, received)
}
