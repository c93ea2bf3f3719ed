//go:build linux

package loader

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a source remembers of being a peer holds no longer than the policy.
func TestSourceRemembers(t *testing.T) {
	r := newRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		require.NoError(t, r.setPolicy(testPolicy()))
		req := request(v6)
		r.answered(kind, req, first)
		r.answered(kind, req, arrival{rx: 2, tx: 2}) // by what was remembered

		p := testPolicy()
		p.Allow, p.Peers = []netip.Prefix{prefix("192.0.2.0/24"), prefix("2001:db8::/32")}, nil
		require.NoError(t, r.setPolicy(p))
		r.must(kind, req.bytes(), "not_allowed")
		r.must(kind, req.bytes(), "not_allowed")

		p = testPolicy()
		p.Keyed = []KeyedRule{{Prefix: netip.PrefixFrom(req.src, req.src.BitLen())}}
		require.NoError(t, r.setPolicy(p))
		other := *req
		other.sport++
		r.must(kind, other.bytes(), "keyed")
		r.must(kind, other.bytes(), "keyed")
		require.NotEqual(t, r.object.config.Gen, r.source(req.src).Gen, "keys are asked for each time")

		require.NoError(t, r.setPolicy(testPolicy()))
		r.answered(kind, req, arrival{rx: 3, tx: 3})
		require.Equal(t, r.object.config.Gen, r.source(req.src).Gen)

		// Counting sessions anew does not make it forget.
		r.answered(kind, &other, first)
		require.NoError(t, r.LlamaSource.Put(addr16(req.src), bpfLlamaSource{Gen: r.object.config.Gen}))
		require.NoError(t, r.ageSessions(monotonic()))
		require.Equal(t, bpfLlamaSource{Sessions: 2, Gen: r.object.config.Gen}, r.source(req.src))
	})
}

// T3 is counted on from T2: also where a second begins between the two.
func TestSecondBegins(t *testing.T) {
	r := newRig(t)
	req := request(false)
	for _, c := range []ClockState{{Estimate: estimate}, {Estimate: estimatePTP, PTP: true}} {
		r.reset()
		began := false
		ahead := time.Duration(0) // from setting the clock to T2, the time before
		end := time.Now().Add(20 * time.Second)
		for n := uint32(1); !began && time.Now().Before(end); n++ {
			at := monotonic()
			c.WallMinusMono = 1_900_000_000*time.Second - time.Duration(at) - ahead
			r.setClock(c)
			from := monotonic()
			_, out := r.run(progXDP, req.bytes())
			r.verify(req, out, arrival{rx: n, tx: n}, from, monotonic())
			t3, t2 := stampAt(out[42+4:]), stampAt(out[42+16:])
			ahead = time.Duration(r.clock.UnixNano(t2, at+int64(r.offset)) - int64(r.offset) - at)
			began = t2>>32 != t3>>32
		}
		require.True(t, began, "no second began between T2 and T3")
	}
}
