package collector

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// governed is a governor with a clock and a load of the test's own.
type governed struct {
	*governor
	now, used int64
	log       strings.Builder
}

func newGoverned(interval time.Duration) *governed {
	g := &governed{now: 1e9}
	g.governor = newGovernor(0.5, interval, slog.New(slog.NewTextHandler(&g.log, nil)))
	g.usage = func() int64 { return g.used }
	g.look(g.now)
	return g
}

// pass lets time go by at a share of the CPU, and returns the factor then.
func (g *governed) pass(d time.Duration, share float64) uint64 {
	for end := g.now + int64(d); g.now < end; {
		g.now += int64(lookEvery)
		g.used += int64(share * float64(lookEvery))
		g.look(g.now)
	}
	return g.factor.Load()
}

func TestSlowsDownForCPUAndRecovers(t *testing.T) {
	g := newGoverned(time.Second)
	require.EqualValues(t, 1, g.pass(time.Minute, 0.49))
	require.EqualValues(t, 2, g.pass(lookEvery, 0.6))
	require.EqualValues(t, 4, g.pass(lookEvery, 0.6))
	require.EqualValues(t, 4, g.pass(10*time.Minute, 0.45), "not calm, not too much")
	require.EqualValues(t, 4, g.pass(25*time.Second, 0.2))
	require.EqualValues(t, 2, g.pass(lookEvery, 0.2))
	require.EqualValues(t, 1, g.pass(30*time.Second, 0.2))
	require.Equal(t, 1, strings.Count(g.log.String(), "slows down"), "the steps are not all told")
	require.Equal(t, 1, strings.Count(g.log.String(), "full rate"))
	// The full rate is too much: it is tried again less and less often.
	for _, wait := range []time.Duration{30, 60, 120, 240, 480, 590, 590} {
		require.EqualValues(t, 2, g.pass(lookEvery, 0.6))
		require.EqualValues(t, 2, g.pass(wait*time.Second, 0.2), "%ds", wait) // doubled by the relapse
		for g.factor.Load() != 1 {
			g.pass(lookEvery, 0.2)
		}
	}
	require.Equal(t, int64(patienceMost), g.patience)
	g.pass(patienceMost+lookEvery, 0.2)
	require.Equal(t, int64(patienceLeast), g.patience, "well for long enough")
}

func TestSlowsDownToAProbeAMinuteAtMost(t *testing.T) {
	for interval, want := range map[time.Duration]uint64{
		time.Second: 32, time.Millisecond: 32768, 31 * time.Second: 1, 30 * time.Second: 2, time.Minute: 1, time.Hour: 1,
	} {
		g := newGoverned(interval)
		require.Equal(t, want, g.pass(time.Hour, 3), interval)
		require.LessOrEqual(t, time.Duration(want)*interval, max(interval, time.Minute))
		sent := 0
		for cycle := range int64(want) {
			if !g.holds(&flow{index: 5}, cycle) {
				sent++
			}
		}
		require.Equal(t, 1, sent, "never to zero")
	}
}

func TestSlowsDownForWantOfBuffers(t *testing.T) {
	g := newGoverned(time.Second)
	for _, c := range []struct {
		sent, unsent int
		want         uint64
	}{
		{1000, 9, 1}, {5, 9, 1}, {1000, 100, 1}, // now and then: not_sent says so
		{900, 100, 2}, {0, 10, 4},
	} {
		g.sent, g.unsent = c.sent, c.unsent
		require.Equal(t, c.want, g.pass(lookEvery, 0.01), "%+v", c)
	}
	require.Contains(t, g.log.String(), "reason=buffers")
}

func TestNeverSlowsDownByChoice(t *testing.T) {
	g := newGoverned(time.Second)
	g.most = 0
	require.EqualValues(t, 1, g.pass(time.Hour, 8))
}

// What is left out is not_sent and nothing else: no loss, no hole in the sessions.
func TestSlowedProbesAreNotSent(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", nil)
	o := testOptions(target("t", p.addr()))
	o.Count = 16
	w, c := measure(t, o, func(c *Collector) { c.loop.slow.set(2) })
	got := onePath(t, w)
	require.Equal(t, probe.Counts{Sent: 16, Received: 16, NotSent: 48}, got.Counts)
	require.Equal(t, []probe.Reason{{Name: "slowed", Count: 48}}, got.NotSentBy)
	for _, f := range got.FlowDetail {
		require.EqualValues(t, 4, f.Sent, "each flow its share")
	}
	require.EqualValues(t, 4, c.Stats()["slowdown"])
	require.EqualValues(t, 48, c.Stats()["not_sent_slowed"])
}
