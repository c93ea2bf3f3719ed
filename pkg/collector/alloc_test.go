package collector

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// Sending, stamping, matching and settling a probe allocate nothing once a
// window's histograms are arrays.
func TestProbeDoesNotAllocate(t *testing.T) {
	t.Run("plain", func(t *testing.T) { requireNoAllocs(t, func(*Options) {}) })
	t.Run("with all", func(t *testing.T) {
		requireNoAllocs(t, func(o *Options) {
			o.Plan.Sizes = []int{100, 200, 1400}
			o.OneWay, o.ClockError = true, time.Microsecond
			o.MaxCPU, o.MaxRate, o.MaxRatePerTarget = 1000, 10_000, 10_000
		})
	})
}

func requireNoAllocs(t *testing.T, with func(*Options)) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer conn.Close()
	to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)

	o := testOptions(target("t", to))
	o.Count, o.Plan.Count = 0, 1
	o.Timing = probe.Timing{Interval: time.Millisecond, Timeout: time.Millisecond, Late: 2 * time.Millisecond}
	o.Emit = func(*probe.Window) {}
	with(&o)
	c, err := New(o)
	require.NoError(t, err)
	l := c.loop
	defer l.close()
	wall, mono, _ := l.offset.sample(l.clock)
	l.spans.begin(wall, mono)
	c.resolve(context.Background(), true)
	l.apply(l.plan.Load())
	l.refreshEstimate()

	in, out := sock.NewBatch(8, 2048), sock.NewBatch(8, 2048)
	a := stamp.Arrival{ErrorEstimate: stamp.NewErrorEstimate(true, stamp.NTP, 1000)}
	answer := func() {
		_ = raw.Control(func(fd uintptr) {
			n, _ := in.Recv(int(fd), unix.MSG_DONTWAIT)
			for i := range n {
				b := in.Payload(i)
				a.Rx++
				a.Tx++
				a.Receive = 1 << 32
				r, err := stamp.Reflect(b, &a, nil)
				if err != nil {
					panic(err)
				}
				r.Finish(b, 1<<32, nil)
				out.Move(i, in, i, len(b))
				out.ReplyTo(i, in, i)
				out.SetControl(i, false, &sock.Outgoing{})
			}
			out.Send(int(fd), 0, n)
		})
	}
	step := func() {
		l.clock.SleepUntil(l.schedule.ready())
		l.sendDue(l.sampleClock())
		answer()
		l.drain()
	}
	for range 400 {
		step()
	}
	before := l.stats[countReplies].Load()
	require.Zero(t, testing.AllocsPerRun(300, step))
	require.Greater(t, l.stats[countReplies].Load()-before, uint64(250))
	require.Zero(t, l.stats[countOneWayUnknown].Load())
}
