package collector

import (
	"context"
	"net"
	"net/netip"
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
	t.Run("plain", func(t *testing.T) { socketsDoNotAllocate(t, func(*Options) {}) })
	t.Run("with all", func(t *testing.T) { socketsDoNotAllocate(t, withAll) })
}

func withAll(o *Options) {
	o.Plan.Sizes = []int{100, 200, 1400}
	o.OneWay, o.ClockError = true, time.Microsecond
	o.MaxCPU, o.MaxRate, o.MaxRatePerTarget = 1000, 10_000, 10_000
}

// socketsDoNotAllocate probes over loopback.
func socketsDoNotAllocate(t *testing.T, with func(*Options)) {
	t.Helper()
	far := newMirror(t)
	out := sock.NewBatch(8, 2048)
	o := allocOptions(far)
	with(&o)
	requireNoAllocs(t, o, func() {
		n := far.answer()
		for i := range n {
			out.Move(i, far.in, i, len(far.in.Payload(i)))
			out.ReplyTo(i, far.in, i)
			out.SetControl(i, false, &sock.Outgoing{})
		}
		out.Send(far.fd, 0, n)
	})
}

// A mirror is a reflector that runs when it is told to, and allocates nothing.
type mirror struct {
	fd, port int
	in       *sock.Batch
	arrival  stamp.Arrival
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	conn, err := net.ListenUDP("udp4", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	m := &mirror{port: conn.LocalAddr().(*net.UDPAddr).Port, in: sock.NewBatch(8, 2048)}
	m.arrival = stamp.Arrival{Receive: 1 << 32, ErrorEstimate: stamp.NewErrorEstimate(true, stamp.NTP, 1000)}
	require.NoError(t, raw.Control(func(fd uintptr) { m.fd = int(fd) })) // which is open until the test ends
	return m
}

// answer turns what has arrived into replies, in its batch, and says how many there are.
func (m *mirror) answer() (n int) {
	n, _ = m.in.Recv(m.fd, unix.MSG_DONTWAIT)
	for i := range n {
		b := m.in.Payload(i)
		m.arrival.Rx++
		m.arrival.Tx++
		r, err := stamp.Reflect(b, &m.arrival, nil)
		if err != nil {
			panic(err)
		}
		r.Finish(b, 1<<32, nil)
	}
	return n
}

// allocOptions: a flow to the mirror, a probe a millisecond.
func allocOptions(far *mirror) Options {
	o := testOptions(target("t", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(far.port))))
	o.Count, o.Plan.Count = 0, 1
	o.Timing = probe.Timing{Interval: time.Millisecond, Timeout: time.Millisecond, Late: 2 * time.Millisecond}
	o.Emit = func(*probe.Window) {}
	return o
}

func requireNoAllocs(t *testing.T, o Options, answer func()) {
	t.Helper()
	c, err := New(o)
	require.NoError(t, err)
	l := c.loop
	defer l.close()
	wall, mono, _ := l.offset.sample(l.clock)
	l.spans.begin(wall, mono)
	c.resolve(context.Background())
	defer c.resolver.hops.close()
	l.apply(l.plan.Load())
	l.refreshEstimate()
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
	require.Equal(t, o.EmitPacket, len(l.packets.sockets) == 1, "they left as frames")
}
