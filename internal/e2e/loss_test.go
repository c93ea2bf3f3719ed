//go:build linux

package e2e

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestLossIsTheKernelsCount drops in the fabric and holds what ping says against the counters of nftables.
func TestLossIsTheKernelsCount(t *testing.T) {
	for _, c := range []struct {
		name, mode       string
		forward, reverse float64
	}{
		{"forward", "socket", 0.01, 0},
		{"reverse", "socket", 0, 0.01},
		{"both", "socket", 0.01, 0.01},
		{"both", "tc", 0.01, 0.01},
	} {
		t.Run(c.name+"-"+c.mode, func(t *testing.T) {
			t.Parallel()
			families(t, func(t *testing.T, six bool) { lossOf(t, six, c.mode, c.forward, c.reverse) })
		})
	}
}

func lossOf(t *testing.T, six bool, mode string, forwardRatio, reverseRatio float64) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	var faults [2]*lab.Fault
	for i, f := range []struct {
		ratio float64
		rule  lab.Rule
	}{
		{forwardRatio, lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort}},
		{reverseRatio, lab.Rule{From: h2, To: h1, SrcPort: lab.DefaultReflectorPort}},
	} {
		if f.ratio > 0 {
			f.rule.Ratio = f.ratio
			var err error
			faults[i], err = l.Fabric().Drop(f.rule)
			require.NoError(t, err)
		}
	}
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	r, status := ping(t, h1, load(10, 500, 20*time.Millisecond, "--mode", mode, "--max-loss", "0.5", target(h2.Addr(six)))...)
	require.Zero(t, status)
	records, err := tap.Stop()
	require.NoError(t, err)
	forward, reverse := hits(t, faults[0]), hits(t, faults[1])

	// A busy machine may miss due times: that is said, and is no loss.
	require.EqualValues(t, 5000, r.due())
	require.EqualValues(t, lab.RTTTruth(records, lab.TruthOptions{}).Requests, r.Sent)
	require.Zero(t, r.Refused+r.Unreachable+r.LocalDrop+r.NotSent, "%+v %v", r.counts, r.Reasons)
	require.Equal(t, forward+reverse, r.Lost, "the kernel's counters")
	// Only losses without a reply before or behind them have no direction.
	edges := undecided(records)
	t.Logf("dropped %d forward, %d reverse; ping of %d: forward %d, reverse %d, unsplit %d; at a flow's ends %d",
		forward, reverse, r.Sent, r.LostForward, r.LostReverse, r.LostUnsplit, edges)
	require.LessOrEqual(t, r.LostUnsplit, edges)
	require.LessOrEqual(t, r.LostForward, forward)
	require.LessOrEqual(t, r.LostReverse, reverse)
	if reverse == 0 {
		require.Positive(t, r.LostForward)
		require.Zero(t, r.LostReverse)
	}
	if forward == 0 {
		require.Positive(t, r.LostReverse)
		require.Zero(t, r.LostForward)
	}
}

// hits reads a fault's counter in the kernel; a nil fault has none.
func hits(t *testing.T, f *lab.Fault) int64 {
	t.Helper()
	if f == nil {
		return 0
	}
	n, _, err := f.Count()
	require.NoError(t, err)
	return int64(n)
}

// undecided counts, from the tap at the prober's port, the probes of each flow that were sent before its
// first answered one or after its last: no two replies enclose them.
func undecided(records []lab.Record) (n int64) {
	type flow struct {
		sent        int64
		first, last int64
	}
	flows := map[netip.AddrPort]*flow{}
	for _, r := range records {
		switch {
		case len(r.Head) < 44:
		case r.Direction == lab.FromHost:
			if flows[r.Src] == nil {
				flows[r.Src] = &flow{first: -1, last: -1}
			}
			flows[r.Src].sent++
		default:
			f, seq := flows[r.Dst], int64(binary.BigEndian.Uint32(r.Head[24:]))
			if f.first < 0 {
				f.first = seq
			}
			f.last = max(f.last, seq)
		}
	}
	for _, f := range flows {
		if f.first < 0 {
			n += f.sent
			continue
		}
		n += f.first + f.sent - 1 - f.last
	}
	return n
}

// TestTotalLossHasNoDirection: nothing comes back, so nothing says where.
func TestTotalLossHasNoDirection(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	fault, err := l.Fabric().Drop(lab.Rule{From: h1, To: h2})
	require.NoError(t, err)
	r, status := ping(t, h1, load(4, 25, 10*time.Millisecond, target(h2.IPv4))...)
	require.Equal(t, 1, status)
	require.Equal(t, r.allUnsplit(100), r.counts)
	require.Equal(t, r.Sent, hits(t, fault))
	require.Nil(t, r.RTT, "no reply: no RTT, never 0")
}
