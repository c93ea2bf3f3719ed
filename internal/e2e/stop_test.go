//go:build linux

package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// A pause is how long a process is stopped; it may take a little longer on a busy machine.
const pause = 300 * time.Millisecond

// stopFor stops a process for a while; it returns for how long.
func stopFor(t *testing.T, signal func(testing.TB, syscall.Signal), d time.Duration) time.Duration {
	t.Helper()
	begun := time.Now()
	signal(t, syscall.SIGSTOP)
	time.Sleep(d)
	signal(t, syscall.SIGCONT)
	return time.Since(begun)
}

func (p *pinging) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}

// TestStoppedReflectorIsNoLoss stops the reflector for 300 ms amid the run, with timeouts above and below
// that, and above and below the interval.
func TestStoppedReflectorIsNoLoss(t *testing.T) {
	for _, c := range []struct {
		name              string
		interval, timeout time.Duration
		count             int
		late              bool
	}{
		{"timeout longer than the stop and the interval", 20 * time.Millisecond, 500 * time.Millisecond, 75, false},
		{"timeout shorter than the stop, longer than the interval", 20 * time.Millisecond, 100 * time.Millisecond, 75, true},
		{"timeout longer than the stop, shorter than the interval", 600 * time.Millisecond, 500 * time.Millisecond, 4, false},
		{"timeout shorter than the stop and the interval", 150 * time.Millisecond, 100 * time.Millisecond, 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lab.ForTest(t, 2)
			h1, h2 := l.Host(1), l.Host(2)
			r := reflectOverSockets(t, h2)
			p := startPing(t, h1, load(2, c.count, c.interval, "--timeout", c.timeout.String(), "--max-loss", "1", target(h2.IPv4))...)
			time.Sleep(c.interval + 400*time.Millisecond)
			stopped := stopFor(t, r.signal, pause)
			results, status := p.wait(t)
			require.Zero(t, status)
			got := results[0]
			require.EqualValues(t, 2*c.count, got.due())
			require.Zero(t, got.Lost+got.Refused+got.Unreachable+got.LocalDrop, "%+v", got.counts)

			// The responder's delay shows it, the RTT does not.
			if c.interval < pause {
				require.Greater(t, got.Responder.Max, 100e3)
			}
			if c.interval < pause/10 && got.Overrun == 0 {
				require.Greater(t, got.Responder.Max, 260e3)
			}
			require.Less(t, got.Responder.Max, 1e3*float64(stopped.Milliseconds()+100))
			require.Less(t, got.RTT.Max, 1e3*float64(pause.Milliseconds())/2)
			require.Less(t, got.RTT.P50, 2e3)
			t.Logf("sent %d, late %d, responder max %.0f µs, RTT p50 %.0f max %.0f µs",
				got.Sent, got.Late, got.Responder.Max, got.RTT.P50, got.RTT.Max)
			if !c.late {
				require.Zero(t, got.Late)
				require.Equal(t, got.Sent, got.Received)
				return
			}
			// Late are those of the stop but for its last 100 ms: of each flow one an interval.
			want := 2 * float64(pause-c.timeout) / float64(c.interval)
			require.InDelta(t, want, float64(got.Late), 2+2*float64(stopped-pause+20*time.Millisecond)/float64(c.interval))
			require.Positive(t, got.Late)
		})
	}
}

// TestStoppedProberSkips stops the prober for 2 s: what was due meanwhile is said not to have been sent,
// it is not made up for in a burst, and replies that waited in the socket are no loss.
func TestStoppedProberSkips(t *testing.T) {
	const (
		ports, count = 4, 500
		interval     = 10 * time.Millisecond
		stop         = 2 * time.Second
	)
	eachMode(t, func(t *testing.T, mode string) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		p := startPing(t, h1, load(ports, count, interval, "--mode", mode, target(h2.IPv4))...)
		time.Sleep(time.Second)
		stopped := stopFor(t, p.signal, stop)
		ended := time.Now().UnixNano()
		results, status := p.wait(t)
		records, err := tap.Stop()
		require.NoError(t, err)
		require.Zero(t, status)
		got := results[0]
		require.EqualValues(t, ports*count, got.due())
		require.Empty(t, got.Reasons, "but for overrun")
		due := float64(ports) * float64(stopped) / float64(interval)
		require.Greater(t, float64(got.Overrun), 0.9*due)
		require.Less(t, float64(got.Overrun), 1.5*due)
		require.Zero(t, got.Lost+got.Late+got.Unreachable+got.LocalDrop)
		require.Equal(t, got.Sent, got.Received)

		// Bins of one interval from the moment the prober goes on: at twice the pace while catching up, never a burst.
		bins := map[int64]int{}
		most := 0
		for _, r := range records {
			if r.Direction == lab.FromHost && r.Time > ended-int64(50*time.Millisecond) {
				bin := r.Time / int64(interval)
				bins[bin]++
				most = max(most, bins[bin])
			}
		}
		t.Logf("stopped %s: %d not sent, at most %d probes in %s after that", stopped, got.Overrun, most, interval)
		require.Greater(t, len(bins), 100)
		require.LessOrEqual(t, most, 3*ports)
	})
}
