package reflector

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
	loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
)

var discard = slog.New(slog.DiscardHandler)

// anyPort is the address with a port for the kernel to choose.
func anyPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }

// start runs a reflector until the test ends.
func start(t testing.TB, o Options) *Reflector {
	t.Helper()
	r, err := New(o, discard)
	require.NoError(t, err)
	run(t, r)
	return r
}

// run runs r until the returned stop is called, or the test ends.
func run(t testing.TB, r *Reflector) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(5 * time.Second):
			t.Fatal("reflector does not stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

// client is a Session-Sender's socket that sees what the kernel says of replies.
type client struct {
	t    testing.TB
	fd   int
	v6   bool
	addr netip.AddrPort
	tx   *sock.Batch
	rx   *sock.Batch
}

func dial(t testing.TB, bind netip.AddrPort) *client {
	t.Helper()
	fd, err := sock.Open(sock.Options{Bind: bind, RecvBuffer: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	port, err := localPort(fd)
	require.NoError(t, err)
	tv := unix.NsecToTimeval(int64(5 * time.Second))
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	return &client{t: t, fd: fd, v6: bind.Addr().Is6(), addr: netip.AddrPortFrom(bind.Addr(), port),
		tx: sock.NewBatch(1, bufLen), rx: sock.NewBatch(1, bufLen)}
}

func (c *client) send(to netip.AddrPort, b []byte, tos, ttl uint8) {
	c.t.Helper()
	sa := sock.NewSockaddr(to)
	copy(c.tx.Buffer(0), b)
	c.tx.SetLen(0, len(b))
	c.tx.SetAddr(0, &sa)
	c.tx.SetControl(0, c.v6, &sock.Outgoing{TOS: tos, TTL: ttl})
	n, errno := c.tx.Send(c.fd, 0, 1)
	require.Zero(c.t, errno)
	require.Equal(c.t, 1, n)
}

// recv waits for a reply; the test fails without one.
func (c *client) recv() (b []byte, from netip.AddrPort, m sock.Meta) {
	c.t.Helper()
	n, errno := c.rx.Recv(c.fd, 0)
	require.Zero(c.t, errno, "no reply")
	require.Equal(c.t, 1, n)
	c.rx.Meta(0, &m)
	return append([]byte(nil), c.rx.Payload(0)...), c.rx.Addr(0), m
}

// exchange sends a request and decodes its reply.
func (c *client) exchange(to netip.AddrPort, b []byte) *stamp.Reply {
	c.t.Helper()
	c.send(to, b, 0, 64)
	got, from, _ := c.recv()
	require.Equal(c.t, to, from)
	require.Len(c.t, got, len(b))
	var r stamp.Reply
	require.NoError(c.t, stamp.DecodeReply(got, &r))
	return &r
}

// silent makes sure that nothing came: everything that was sent before has been
// answered or refused once a fence, a request that is allowed, has its reply.
func (c *client) silent() {
	c.t.Helper()
	n, errno := c.rx.Recv(c.fd, unix.MSG_DONTWAIT)
	require.Zero(c.t, n)
	require.True(c.t, errors.Is(errno, unix.EAGAIN))
}

// probe builds the default probe: base, Class of Service, Direct Measurement.
func probe(t testing.TB, o stamp.ProbeOptions, seq uint32) []byte {
	t.Helper()
	p, err := stamp.NewTemplate(o)
	require.NoError(t, err)
	b := make([]byte, p.Len())
	p.Put(b, seq, stamp.NTP.FromUnixNano(time.Now().UnixNano()), seq+1)
	return b
}

// eventually waits for counters, which workers write after they have sent.
func eventually(t testing.TB, r *Reflector, want Stats) {
	t.Helper()
	mask := func() Stats {
		s := r.Stats()
		s.UserStamps = 0 // the kernel may switch stamps on a moment late
		return s
	}
	for end := time.Now().Add(5 * time.Second); mask() != want && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	require.Equal(t, want.Map(), mask().Map())
}

// ends sets the counters of reasons, and Received to their sum.
func ends(m map[Reason]uint64) (s Stats) {
	for r, n := range m {
		s.Ended[r] = n
		s.Received += n
	}
	return s
}
