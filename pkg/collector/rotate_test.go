package collector

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

func TestRotationIsTheFractionAnHour(t *testing.T) {
	for _, c := range []struct {
		rotate float64
		count  int
		ports  int
		every  time.Duration
	}{
		{0.1, 32, 3, 56*time.Minute + 15*time.Second},
		{0.25, 32, 8, time.Hour},
		{1, 32, 32, time.Hour},
		{0.01, 4, 1, 25 * time.Hour}, // a quarter of a port a day is none
	} {
		p := Plan{Rotate: c.rotate, Count: c.count}
		ports, every := p.group()
		require.Equal(t, c.ports, ports)
		require.InDelta(t, float64(c.every), float64(every), float64(time.Microsecond))
		now := time.Unix(1_800_000_000, 0)
		require.EqualValues(t, 10, p.step(now.Add(10*every))-p.step(now))
	}
	require.Zero(t, (&Plan{Count: 32}).step(time.Now()))
}

// From step to step groups stay as they are, but for those that go and those that come.
func TestGroupsComeAndGoAsAWhole(t *testing.T) {
	ring := make([]uint16, 101)
	for i := range ring {
		ring[i] = uint16(20000 + i)
	}
	for _, c := range []struct{ count, group int }{{32, 3}, {32, 8}, {32, 32}, {4, 1}, {5, 4}, {7, 2}} {
		var before [][]uint16
		for step := int64(500_000); step < 500_300; step++ {
			groups := rotate(ring, 40, c.count, c.group, step)
			all := slices.Concat(groups...)
			require.Len(t, all, c.count)
			slices.Sort(all)
			require.Len(t, slices.Compact(all), c.count, "no port twice")
			stay := 0
			for _, g := range groups {
				if slices.ContainsFunc(before, func(b []uint16) bool { return slices.Equal(b, g) }) {
					stay += len(g)
				}
			}
			if before != nil {
				require.Equal(t, c.count-min(c.group, c.count), stay, "count %d, group %d, step %d", c.count, c.group, step)
			}
			before = groups
		}
	}
	// Blocks of several names or classes move together, and never share a port.
	for step := range int64(300) {
		all := slices.Concat(append(rotate(ring, 0, 32, 3, step), append(rotate(ring, 32, 32, 3, step), rotate(ring, 64, 32, 3, step)...)...)...)
		slices.Sort(all)
		require.Len(t, slices.Compact(all), 96)
	}
}

// Ports go and others come; the sessions of those that stay go on, nothing is lost,
// and it stays one line.
func TestRotationLeavesTheOthersAlone(t *testing.T) {
	type session struct{ first, last uint32 }
	var mu sync.Mutex
	sessions := map[uint16]*session{} // by source port
	watch := func(b []byte, from netip.AddrPort) {
		var pkt stamp.SenderPacket
		if stamp.DecodeSender(&pkt, b) != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		s := sessions[from.Port()]
		if s == nil {
			s = &session{first: pkt.Seq}
			sessions[from.Port()] = s
		}
		if pkt.Seq != 0 && pkt.Seq != s.last+1 {
			t.Errorf("port %d: probe %d after %d", from.Port(), pkt.Seq, s.last)
		}
		s.last = pkt.Seq
	}
	p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) { p.arrivedFrom = watch })
	o := testOptions(target("t", p.addr()))
	o.Plan.Ports, o.Plan.Rotate = fixedPorts(t, 12), 0.5
	o.Timing.Interval = 50 * time.Millisecond
	at := time.Unix(1_800_000_000, 0)
	got := during(t, o, func(c *Collector) {
		for range 3 {
			time.Sleep(400 * time.Millisecond)
			mu.Lock()
			at = at.Add(time.Hour)
			mu.Unlock()
			c.Update(o.Plan)
		}
		time.Sleep(400 * time.Millisecond)
	}, func(c *Collector) {
		c.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	})["ef"]
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, got.Sent, got.Received)
	require.Equal(t, 4+3*2, got.Flows)
	require.Len(t, got.FlowDetail, 10)
	require.Len(t, sessions, 10)
	require.Equal(t, probe.Some(5), got.HopsForward)
	short, long := 0, 0
	for port, s := range sessions {
		require.Zero(t, s.first, "port %d", port)
		if s.last > 10 {
			long++ // two or more terms: about 8 probes each
		} else {
			short++
		}
	}
	require.Equal(t, []int{4, 6}, []int{short, long})
}
