package collector

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// lengths collects the lengths of what reached a peer.
type lengths struct {
	mu sync.Mutex
	n  map[int]int
}

func (l *lengths) watch(p *peer) {
	l.n = map[int]int{}
	p.arrived = func(b []byte) {
		l.mu.Lock()
		l.n[len(b)]++
		l.mu.Unlock()
	}
}

func of(size int, sent, received uint64) probe.SizeCount {
	return probe.SizeCount{Size: size, Sent: sent, Received: received}
}

func TestSizesAreTakenInTurn(t *testing.T) {
	for listen, headers := range map[string]int{"127.0.0.1:0": 28, "[::1]:0": 48} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			var seen lengths
			p := newPeer(t, listen, nil, seen.watch)
			o := testOptions(target("t", p.addr()))
			o.Count = 12
			o.Plan.Sizes = []int{1500, 64, 9000, 800}
			w, _ := measure(t, o)
			got := onePath(t, w)
			require.Equal(t, probe.Counts{Sent: 48, Received: 48}, got.Counts)
			shortest := 68 + headers
			require.Equal(t, []probe.SizeCount{of(shortest, 12, 12), of(800, 12, 12), of(1500, 12, 12), of(9000, 12, 12)}, got.Sizes)
			passed, sent := got.SizeMax()
			require.Equal(t, []probe.Opt{probe.Some(9000), probe.Some(9000)}, []probe.Opt{passed, sent})
			seen.mu.Lock()
			defer seen.mu.Unlock()
			require.Equal(t, map[int]int{68: 12, 800 - headers: 12, 1500 - headers: 12, 9000 - headers: 12}, seen.n)
		})
	}
}

// A bare probe, one that authenticates, and sizes that fall in one.
func TestSizesOfOtherProbes(t *testing.T) {
	var seen lengths
	p := newPeer(t, "127.0.0.1:0", nil, seen.watch)
	to := target("t", p.addr())
	to.TLV = false
	o := testOptions(to)
	o.Plan.Sizes = []int{64, 72, 73}
	w, _ := measure(t, o)
	require.Equal(t, []probe.SizeCount{of(72, 20, 20), of(73, 20, 20)}, onePath(t, w).Sizes)

	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, c := range []struct {
		size     int
		to       netip.Addr
		shortest int
		tlv      bool
		want     int
	}{
		{64, four, 68, true, 68},
		{96, four, 68, true, 68},
		{97, four, 68, true, 72}, // there is no padding of one octet
		{100, four, 68, true, 72},
		{101, four, 68, true, 73},
		{97, four, 68, false, 69},
		{1500, four, 68, true, 1472},
		{1500, six, 68, true, 1452},
		{65535, four, 68, true, 65507},
		{65535, six, 136, true, 65487},
	} {
		require.Equal(t, c.want, payloadOf(c.size, c.to, c.shortest, c.tlv), "%+v", c)
	}
}

// A size that does not pass shows, and takes nothing from the others; one that this
// host cannot send is not sent, and does not stop the flow at it.
func TestSizeThatDoesNotPass(t *testing.T) {
	shorten := func(b []byte) []byte {
		if len(b) > 1400-28 {
			return nil // an empty datagram: counted as too short, and no reply
		}
		return b
	}
	p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) { p.edit = shorten })
	o := testOptions(target("t", p.addr()))
	o.Count = 10
	o.Plan.Sizes = []int{200, 1400, 1401, 1500, 65535}
	w, c := measure(t, o)
	got := onePath(t, w)
	require.EqualValues(t, 40, got.Sent+got.NotSent)
	switch got.NotSent { // 65535 octets fit the loopback's MTU or do not
	case 0:
		require.EqualValues(t, 24, got.Lost)
	default:
		require.Equal(t, []probe.Reason{{Name: "too_big", Count: 8}}, got.NotSentBy)
		require.EqualValues(t, 16, got.Lost)
	}
	require.EqualValues(t, got.Lost, c.Stats()["reply_short"])
	require.Equal(t, []probe.SizeCount{of(200, 8, 8), of(1400, 8, 8), of(1401, 8, 0), of(1500, 8, 0)}, got.Sizes[:4])
	passed, _ := got.SizeMax()
	require.Equal(t, probe.Some(1400), passed)
}

// Sizes can be changed while probes are under way, and room is made for longer ones.
func TestSizesChange(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", nil)
	o := testOptions(target("t", p.addr()))
	o.Timing.Interval = 50 * time.Millisecond
	got := during(t, o, func(c *Collector) {
		time.Sleep(400 * time.Millisecond)
		plan := o.Plan
		plan.Sizes = []int{128, 4000}
		c.Update(plan)
		time.Sleep(400 * time.Millisecond)
		plan.Sizes = []int{128, 8000}
		c.Update(plan)
		time.Sleep(400 * time.Millisecond)
	})["ef"]
	require.Equal(t, got.Sent, got.Received)
	var sizes []int
	for _, z := range got.Sizes {
		require.Positive(t, z.Received)
		require.Equal(t, z.Sent, z.Received)
		sizes = append(sizes, z.Size)
	}
	require.Equal(t, []int{128, 4000, 8000}, sizes)
}

func TestOptionsRefuseSizes(t *testing.T) {
	for _, sizes := range [][]int{{63}, {65536}, make([]int, 33)} {
		o := testOptions()
		o.Plan.Sizes = sizes
		_, err := New(o)
		require.Error(t, err)
	}
}
