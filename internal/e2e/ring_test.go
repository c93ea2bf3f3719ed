//go:build linux

package e2e

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// holder is a reflector that can keep its answers back.
type holder struct {
	conn *net.UDPConn

	mu       sync.Mutex // protects the fields below
	holding  bool
	held     []reply
	answered int64
	last     reply // the last answer that was sent
}

type reply struct {
	to netip.AddrPort
	b  []byte
}

func hold(t *testing.T, h *lab.Host) *holder {
	t.Helper()
	r := &holder{conn: udp(t, h, netip.AddrPortFrom(h.IPv4, lab.DefaultReflectorPort))}
	go func() {
		for b := make([]byte, 2048); ; {
			n, from, err := r.conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return // the test is over
			}
			r.take(reply{from, answer(b[:n])})
		}
	}()
	return r
}

func (r *holder) take(x reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding {
		r.held = append(r.held, x)
		return
	}
	r.answered++
	r.last = x
	_, _ = r.conn.WriteToUDPAddrPort(x.b, x.to)
}

// has waits until so many were answered, and so many are held back.
func (r *holder) has(t *testing.T, answered int64, held int) {
	t.Helper()
	eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.answered >= answered && len(r.held) >= held
	}, "%d probes answered, %d held back", answered, held)
}

func (r *holder) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = true
}

// release answers what was held back, and returns how many probes that was, and how many were answered by then.
func (r *holder) release(t *testing.T) (held, answered int64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.held {
		_, err := r.conn.WriteToUDPAddrPort(x.b, x.to)
		require.NoError(t, err)
		time.Sleep(time.Millisecond) // no queue on the way is to overflow but the ring
	}
	held, answered = int64(len(r.held)), r.answered
	r.holding, r.held = false, nil
	return held, answered
}

// TestFullRingIsNotLoss: the agent stands still, and replays of one answer fill the ring between kernel and agent.
// What arrives then the kernel counts as ring_full; it is local_drop, probe by probe, and nothing is lost.
func TestFullRingIsNotLoss(t *testing.T) {
	eachEmission(t, emissions[1:], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		far := hold(t, h2)
		near := e.begin(t, l, h1, "timeout: 2s, late: 6s, window: 1s", oneTarget)
		full := func() int64 { return int64(inKernel(t, h1, near.pin)["take ring_full"]) }
		far.has(t, 50, 0)
		far.hold()
		far.has(t, 50, 20)
		near.halt(t)

		const room = 41_000 // replies that 4 MiB hold, and some
		for end := time.Now().Add(time.Minute); full() == 0; {
			require.True(t, time.Now().Before(end), "the ring is never full")
			for range room {
				_, err := far.conn.WriteToUDPAddrPort(far.last.b, far.last.to) // unchanged while it holds
				require.NoError(t, err)
			}
		}
		before := full()
		eventually(t, func() bool { // the last replays are still on their way
			time.Sleep(300 * time.Millisecond)
			was := before
			before = full()
			return before == was
		}, "the end of the replays")
		held, answered := far.release(t)
		var dropped int64
		eventually(t, func() bool { dropped = full() - before; return dropped >= held }, "the kernel's count of %d replies", held)
		require.Equal(t, held, dropped)

		near.signal(t, syscall.SIGCONT)
		far.has(t, answered+50, 0)
		near.stop(t)
		lines := readLines(t, near.output)
		sum, _ := pathTo(lines, "one")
		own := last(t, lines)
		t.Logf("held back %d; %+v", held, sum)
		// Replies to probes that leave before the agent has looked at the ring find it full too: the kernel counts them.
		require.Equal(t, own["kernel_ring_full"]-before, sum.LocalDrop)
		require.GreaterOrEqual(t, sum.LocalDrop, held)
		require.Zero(t, sum.Lost+sum.Refused+sum.Unreachable)
		require.Equal(t, far.answered+held, sum.Received+sum.Late+sum.LocalDrop)
		require.Positive(t, sum.Duplicate, "the replays that the ring took, as far as they are counted")
	})
}
