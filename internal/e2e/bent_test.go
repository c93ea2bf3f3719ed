//go:build linux

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A bend is what the bent reflector does to one probe. All others it answers as it should.
type bend uint8

const (
	straight     bend = iota
	lose              // does not count it, does not answer
	loseReply         // counts it as answered
	refuse            // counts it as received
	loseBefore        // loses it, and something is wrong with the counters of the next reply:
	restarted         // they begin far below, and go on from there
	receivedLess      // R_RxC is below the one before
	leapt             // they are far above all before, and the next ones are not
	pastTheEnd        // the length of a TLV runs past the end
	cutShort          // the reply ends within a TLV
	bends
)

// script is what happens to the probes of a flow, by their number modulo its length. Whatever takes the measure away
// (counters that contradict what was sent) has some straight answers behind it, for a new one.
var script = [64]bend{
	5: lose, 10: loseReply, 15: refuse,
	20: loseBefore, 21: restarted,
	30: loseBefore, 31: receivedLess,
	40: loseBefore, 41: leapt,
	50: pastTheEnd, 56: cutShort,
}

// bender is a stateful reflector that bends its answers.
type bender struct {
	conn *net.UDPConn

	mu       sync.Mutex // protects the fields below
	straight bool       // from now on
	sessions map[netip.AddrPort]*[2]uint32
	done     [bends]int64
	answered int64
}

func bendAt(t *testing.T, h *lab.Host) *bender {
	t.Helper()
	r := &bender{conn: udp(t, h, netip.AddrPortFrom(h.IPv4, lab.DefaultReflectorPort)), sessions: map[netip.AddrPort]*[2]uint32{}}
	go func() {
		for b := make([]byte, 2048); ; {
			n, from, err := r.conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return // the test is over
			}
			if reply := r.take(b[:n], from); reply != nil {
				_, _ = r.conn.WriteToUDPAddrPort(reply, from)
			}
		}
	}()
	return r
}

// take turns the request into its reply; nil if there is none.
func (r *bender) take(b []byte, from netip.AddrPort) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	do := straight
	if !r.straight {
		do = script[int(binary.BigEndian.Uint32(b))%len(script)]
	}
	r.done[do]++
	s := r.sessions[from]
	if s == nil {
		s = &[2]uint32{1 << 30, 1 << 30} // of a session older than this prober
		r.sessions[from] = s
	}
	rx, tx := &s[0], &s[1]
	switch do {
	case lose, loseBefore:
		return nil
	case refuse:
		*rx++
		return nil
	case restarted:
		*rx, *tx = *rx-1<<20, *tx-1<<20
	}
	*rx++
	*tx++
	now := stamp.NTP.FromUnixNano(time.Now().UnixNano())
	a := stamp.Arrival{Receive: now, TTL: 254, Rx: *rx, Tx: *tx, ErrorEstimate: stamp.NewErrorEstimate(false, stamp.NTP, 1000)}
	switch do {
	case receivedLess:
		a.Rx -= 10
	case leapt:
		a.Rx, a.Tx = a.Rx+1<<16, a.Tx+1<<16
	}
	result, err := stamp.Reflect(b, &a, nil)
	if err != nil {
		return nil
	}
	result.Finish(b, now, nil)
	switch do {
	case loseReply:
		return nil
	case pastTheEnd:
		b[stamp.BaseLen+2] = 0xff // the first octet of a length
	case cutShort:
		b = b[:len(b)-8]
	}
	r.answered++
	return b
}

func (r *bender) counts() (done [bends]int64, answered int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done, r.answered
}

// straighten ends the bending, and returns when every flow has been answered since.
func (r *bender) straighten(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	r.straight = true
	from := r.answered
	r.mu.Unlock()
	eventually(t, func() bool { _, n := r.counts(); return n >= from+20 }, "straight answers")
}

// TestBentReplies: a reflector that loses, refuses, miscounts and mangles, by its own record. Every probe ends as that
// says; where counters contradict what was sent, the loss in that gap has no direction, and behind it there is one again.
// The target beside it does not feel it.
func TestBentReplies(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		t.Parallel()
		l := lab.ForTest(t, 3)
		h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
		bent := bendAt(t, h2)
		reflect(t, h3)
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		near := emission{mode: mode}.begin(t, l, h1, "timeout: 1s, late: 3s, window: 1s",
			"targets:\n  bent: {address: 10.77.2.2}\n  honest: {address: 10.77.3.2}\n")
		eventually(t, func() bool { done, _ := bent.counts(); return done[cutShort] >= 4 }, "twice the script, of two flows")
		bent.straighten(t)
		near.stop(t)
		left := requests(t, tap)
		lines := readLines(t, near.output)
		sum, _ := pathTo(lines, "bent")
		own := last(t, lines)
		done, answered := bent.counts()
		t.Logf("done %v: %+v", done, sum)
		require.Equal(t, left["10.77.2.2"], sum.Sent)
		require.Equal(t, answered, sum.Received+sum.Late)
		require.Equal(t, done[lose], sum.LostForward)
		require.Equal(t, done[loseReply], sum.LostReverse)
		require.Equal(t, done[refuse], sum.Refused)
		require.Equal(t, done[loseBefore], sum.LostUnsplit)
		require.Zero(t, sum.Unreachable+sum.LocalDrop+sum.Duplicate+sum.Reordered+sum.Corrupted)
		mangled := done[pastTheEnd]
		if mode == "socket" { // what the kernel takes and is shorter than a probe has no TLVs for it
			mangled += done[cutShort]
		}
		require.Equal(t, mangled, own["collector_reply_tlv"])
		require.Zero(t, own["collector_reply_short"]+own["collector_reply_unmatched"]+own["collector_reply_stale"]+
			own["collector_reply_t1_mismatch"]+own["collector_reply_bad_stamps"])
		requireHonest(t, lines, left["10.77.3.2"])
	})
}

// requireHonest: all that left for the honest target came back, and its lines say what they would without another target.
func requireHonest(t *testing.T, lines []line, left int64) {
	t.Helper()
	sum, _ := pathTo(lines, "honest")
	require.Positive(t, left)
	require.Equal(t, counts{Sent: left, Received: left - sum.Late, Late: sum.Late, NotSent: sum.NotSent}, sum)
	for _, x := range lines {
		if x.tags["dst"] != "honest" || x.ints["received"] == 0 {
			continue
		}
		require.Positive(t, x.floats["rtt_min_us"])
		require.EqualValues(t, []int64{1, 1}, []int64{x.ints["hops_forward"], x.ints["hops_reverse"]})
		require.Zero(t, x.ints["flows_lossy"]+x.ints["flows_path_changed"]+x.ints["flows_remarked"])
		require.Contains(t, x.floats, "loss_ratio")
		require.Zero(t, x.floats["loss_ratio"])
	}
}
