//go:build linux

package e2e

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"
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

// replayUntil sends the last answer again, so many times at once, until the kernel has counted that there was no room
// for one. It returns how many times in the end.
func (r *holder) replayUntil(t *testing.T, full func() int64, times int) (dropped int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); full() == 0; {
		require.True(t, time.Now().Before(end), "there is always room")
		for range times {
			_, err := r.conn.WriteToUDPAddrPort(r.last.b, r.last.to) // unchanged while it holds
			require.NoError(t, err)
		}
	}
	dropped = full()
	eventually(t, func() bool { // the last replays are still on their way
		time.Sleep(300 * time.Millisecond)
		was := dropped
		dropped = full()
		return dropped == was
	}, "the end of the replays")
	return dropped
}

// heldFor is how many answers to a source port are held back. The prober stands still.
func (r *holder) heldFor(to netip.AddrPort) (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.held {
		if x.to == to {
			n++
		}
	}
	return n
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

		before := far.replayUntil(t, full, 41_000) // 4 MiB hold some less
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

// TestFullSocketIsNotLoss: the same without the kernel's programs. Replays of one answer fill the socket of one source
// port. The kernel counts what it drops there, UdpRcvbufErrors: that is local_drop, and what the agent says of its
// sockets. host_drops are of queues and interfaces, by the same kernel, and have nothing of it.
func TestFullSocketIsNotLoss(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	elsewhere := dropsOfHost(t, h1)
	far := hold(t, h2)
	near := emissions[0].begin(t, l, h1, "timeout: 1s, late: 3s, window: 1s", oneTarget)
	full := func() int64 { return kernelCount(t, h1, "UdpRcvbufErrors") }
	far.has(t, 50, 0)
	far.hold()
	far.has(t, 50, 20)
	near.halt(t)
	before := far.replayUntil(t, full, 5_000)
	ofPort := far.heldFor(far.last.to)
	held, answered := far.release(t)
	require.Greater(t, held, ofPort)
	eventually(t, func() bool { return full()-before >= ofPort }, "the kernel's count of %d replies", ofPort)
	require.Equal(t, ofPort, full()-before, "the other port's socket has room")

	near.signal(t, syscall.SIGCONT)
	far.has(t, answered+50, 0)
	near.stop(t)
	lines := readLines(t, near.output)
	sum, _ := pathTo(lines, "one")
	own := last(t, lines)
	t.Logf("held back %d, %d of them for the full socket; %+v", held, ofPort, sum)
	require.Equal(t, full()-before, sum.LocalDrop)
	require.GreaterOrEqual(t, sum.LocalDrop, ofPort)
	require.Equal(t, full(), own["collector_socket_drops"])
	require.Zero(t, sum.Lost+sum.Refused+sum.Unreachable)
	require.Equal(t, far.answered+held, sum.Received+sum.Late+sum.LocalDrop)
	var hostDrops int64
	for _, x := range lines {
		if x.measurement == "llama_path" {
			hostDrops += x.ints["host_drops"]
		}
	}
	require.LessOrEqual(t, hostDrops, dropsOfHost(t, h1)-elsewhere, "queues and interfaces, by the kernel")
}

// dropsOfHost is what the kernel says that the host's interface dropped, which has no queue, and the machine's backlog.
func dropsOfHost(t *testing.T, h *lab.Host) (n int64) {
	t.Helper()
	var links []struct {
		Stats struct {
			RX, TX struct {
				Dropped int64
				Missed  int64 `json:"missed_errors"`
				FIFO    int64 `json:"fifo_errors"`
			}
		} `json:"stats64"`
	}
	require.NoError(t, json.Unmarshal(tool(t, h, "ip", "-s", "-s", "-json", "link", "show", "dev", "eth0"), &links))
	require.Len(t, links, 1)
	n = max(links[0].Stats.RX.Missed, links[0].Stats.RX.FIFO) + links[0].Stats.TX.Dropped
	for line := range strings.Lines(string(tool(t, h, "cat", "/proc/net/softnet_stat"))) {
		dropped, err := strconv.ParseInt(strings.Fields(line)[1], 16, 64)
		require.NoError(t, err)
		n += dropped
	}
	return n
}
