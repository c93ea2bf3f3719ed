//go:build vm

package collector

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// stepClock sets the wall clock of the machine.
func stepClock(t *testing.T, by time.Duration) {
	ts := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Errorf("set the clock: %v", err)
	}
}

// The wall clock is stepped, forwards and backwards, while a probe is on its way: the reflector does it when the probe
// has arrived. All stamps of the kernel after that are of another time than those before.
func TestRealClockSteps(t *testing.T) {
	if os.Getenv("LLAMA_VM") != "1" {
		t.Fatal("sets the clock of the machine: only in a guest of scripts/vm-test, which sets LLAMA_VM=1")
	}
	const window, perFlow = 2 * time.Second, 100
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			steps := map[uint32]time.Duration{
				20: time.Hour,
				50: -time.Hour - 2*window, // hours, and whole windows, that have been before
				80: 2 * window,
			}
			var left time.Duration
			for _, by := range steps {
				left += by
			}
			require.Zero(t, left, "the clock is right again in the end")
			pending := map[uint32]time.Duration{}
			for seq, by := range steps {
				pending[seq] = by
			}
			p := newPeer(t, listen, nil, func(p *peer) {
				p.arrived = func(request []byte) {
					seq := binary.BigEndian.Uint32(request)
					by, due := pending[seq]
					if delete(pending, seq); due {
						stepClock(t, by)
					}
				}
			})
			o := testOptions(target("t", p.addr()))
			o.Plan.Count, o.Count = 2, perFlow
			o.Timing.Interval, o.Timing.Window = 100*time.Millisecond, window
			answers := map[uint32][]int64{}
			o.Observe = func(a Answer) { answers[a.Seq] = append(answers[a.Seq], a.RTT) }

			windows, c := measure(t, o)
			require.EqualValues(t, len(steps), c.Stats()["clock_steps"])
			requireStepsHarmless(t, windows, answers, steps, 2*perFlow)
		})
	}
}

func requireStepsHarmless(t *testing.T, windows []*probe.Window, answers map[uint32][]int64, steps map[uint32]time.Duration, sent uint64) {
	t.Helper()
	var sum probe.Counts
	var withRTT uint64
	ends := map[int64]bool{}
	for _, w := range windows {
		require.False(t, ends[w.End.UnixNano()], "two windows of the time %v", w.End)
		ends[w.End.UnixNano()] = true
		for i := range w.Paths {
			sum.Add(&w.Paths[i].Counts)
			withRTT += w.Paths[i].RTT.Count()
			s, ok := w.Paths[i].RTT.Summary()
			require.True(t, !ok || s.Max < 1e9, "an RTT of %v ns", s.Max)
		}
	}
	require.Equal(t, probe.Counts{Sent: sent, Received: sent}, sum, "a step loses nothing")
	require.Greater(t, len(windows), 2*len(steps), "a step ends a window")
	var without uint64
	for seq, rtts := range answers {
		for _, rtt := range rtts {
			require.Less(t, rtt, int64(1e9), "probe %d", seq)
			if rtt < 0 {
				without++
			}
		}
	}
	for seq := range steps {
		require.Contains(t, answers[seq], int64(-1), "probe %d was on its way at the step", seq)
	}
	require.Equal(t, sent-without, withRTT)
	// Only what was on its way just then: at most one probe of each flow.
	require.LessOrEqual(t, without, uint64(2*len(steps)))
}
