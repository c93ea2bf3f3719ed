package reflector

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// newTestEngine is an engine without a socket.
func newTestEngine(t testing.TB, o Options) *engine {
	t.Helper()
	s := newShared(o, slog.New(slog.DiscardHandler))
	p, err := compile(&o.Policy, []uint16{stamp.Port})
	require.NoError(t, err)
	s.policy.Store(p)
	e := newEngine(s, stamp.Port, false)
	e.begin()
	return e
}

// arrived is a request as a socket would have handed it over.
func arrived(src netip.AddrPort, b []byte) *request {
	return &request{b: b, src: src, meta: sock.Meta{
		Stamp: time.Now().UnixNano(), TTL: 255, Local: netip.MustParseAddr("10.0.0.1"), IfIndex: 2,
	}}
}

// BenchmarkProcess is the Go work on a packet between the two system calls: the
// guards, policy, session, rate, reply, T3 and control messages.
func BenchmarkProcess(b *testing.B) {
	for _, c := range []struct {
		name  string
		flows int
		auth  bool
	}{{"1_flow", 1, false}, {"4096_flows", 4096, false}, {"authenticated", 32, true}} {
		b.Run(c.name, func(b *testing.B) { benchmarkProcess(b, c.flows, c.auth) })
	}
}

func benchmarkProcess(b *testing.B, flows int, auth bool) {
	key := []byte("key of the benchmark")
	o := Options{Policy: Policy{Peers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, PeerRate: 1e9}}
	po := stamp.ProbeOptions{SSID: 1}
	if auth {
		o.Policy.Auth = []Auth{{Key: key}}
		po.Mode = stamp.Authenticated
		po.Auth, _ = stamp.NewAuthenticator(key)
	}
	e := newTestEngine(b, o)
	p := probe(b, po, 0)
	tx := sock.NewBatch(1, bufLen)
	q := arrived(netip.MustParseAddrPort("10.0.0.2:1024"), tx.Buffer(0)[:len(p)])
	var r reply
	b.ReportAllocs()
	for i := range b.N {
		if i%batchLen == 0 {
			e.begin()
		}
		copy(q.b, p)
		q.src = netip.AddrPortFrom(q.src.Addr(), uint16(20000+i*7919%flows))
		if e.process(q, &r) != Replied {
			b.Fatal("refused")
		}
		t3 := e.clock.Clock.FromUnixNano(time.Now().UnixNano())
		r.result.Finish(r.b, t3, r.auth)
		tx.SetControl(0, false, &sock.Outgoing{TTL: 255, Source: q.meta.Local})
		e.sent(&r, t3)
	}
}
