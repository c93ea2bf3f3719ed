//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestLossIsTheKernelsCount drops in the fabric and holds what ping says against the counters of nftables.
func TestLossIsTheKernelsCount(t *testing.T) {
	for _, c := range []struct {
		name             string
		forward, reverse float64
		six              bool
	}{
		{"none", 0, 0, false},
		{"forward", 0.01, 0, true},
		{"reverse", 0, 0.01, false},
		{"both", 0.01, 0.01, true},
		{"half, forward", 0.5, 0, false},
		{"half, reverse", 0, 0.5, true},
		{"half, both", 0.5, 0.5, false},
		{"all, forward", 1, 0, true},
		{"all, reverse", 0, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMode(t, func(t *testing.T, mode string) {
				t.Parallel()
				lossOf(t, c.six, mode, c.forward, c.reverse)
			})
		})
	}
}

// dropBoth drops a share of the probes and of the replies; a share of 0 has no fault.
func dropBoth(t *testing.T, l *lab.Lab, forward, reverse float64) (faults [2]*lab.Fault) {
	t.Helper()
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	for i, r := range []lab.Rule{
		{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Ratio: forward},
		{From: h2, To: h1, SrcPort: lab.DefaultReflectorPort, Ratio: reverse},
	} {
		if r.Ratio > 0 {
			var err error
			faults[i], err = l.Fabric().Drop(r)
			require.NoError(t, err)
		}
	}
	return faults
}

func lossOf(t *testing.T, six bool, mode string, forwardRatio, reverseRatio float64) {
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	faults := dropBoth(t, l, forwardRatio, reverseRatio)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	const ports, count = 16, 200
	r, status := ping(t, h1, load(ports, count, 20*time.Millisecond, "--mode", mode, "--max-loss", "0.99", target(h2.Addr(six)))...)
	all := forwardRatio+reverseRatio == 1 && forwardRatio != reverseRatio
	require.Equal(t, all, status == 1)
	records, err := tap.Stop()
	require.NoError(t, err)
	require.EqualValues(t, ports*count, r.due())
	requireLoss(t, &r, records, hits(t, faults[0]), hits(t, faults[1]))
	if all {
		require.Equal(t, r.allUnsplit(ports*count), r.counts, "nothing comes back, so nothing says where")
		require.Nil(t, r.RTT, "no reply: no RTT, never 0")
	}
}

// requireLoss holds what was lost against what the kernel says it dropped on the way there and back. A busy
// machine may miss due times, and read a reply late: that is said, and is no loss.
func requireLoss(t *testing.T, r *result, records []lab.Record, forward, reverse int64) {
	t.Helper()
	require.EqualValues(t, lab.RTTTruth(records, lab.TruthOptions{}).Requests, r.Sent)
	require.Zero(t, r.Refused+r.Unreachable+r.LocalDrop+r.NotSent, "%+v %v", r.counts, r.Reasons)
	require.Equal(t, forward+reverse, r.Lost, "the kernel's counters")
	// Only losses without a reply before or behind them have no direction.
	edges := undecided(records)
	t.Logf("dropped %d forward, %d reverse; of %d: forward %d, reverse %d, unsplit %d; at a flow's ends %d",
		forward, reverse, r.Sent, r.LostForward, r.LostReverse, r.LostUnsplit, edges)
	require.LessOrEqual(t, r.LostUnsplit, edges)
	require.LessOrEqual(t, r.LostForward, forward)
	require.LessOrEqual(t, r.LostReverse, reverse)
}

// TestRareLossIsTheKernelsCount: one probe in 10,000, at 8,000 a second.
func TestRareLossIsTheKernelsCount(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		lab.Require(t, lab.Nftables)
		h1, h2 := l.Host(1), l.Host(2)
		runWith(t, h2, ", mode: tc", fmt.Sprintf("reflector: {peers: [%s/32]}\ntargets: {}\n", h1.IPv4))
		forward, err := l.Fabric().Drop(lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Every: 10_000})
		require.NoError(t, err)
		reverse, err := l.Fabric().Drop(lab.Rule{From: h2, To: h1, SrcPort: lab.DefaultReflectorPort, Every: 10_000})
		require.NoError(t, err)
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		r, status := ping(t, h1, load(32, 1000, 4*time.Millisecond, "--mode", mode, "--max-loss", "0.01", target(h2.IPv4))...)
		require.Zero(t, status)
		records, err := tap.Stop()
		require.NoError(t, err)
		require.Greater(t, r.Sent, int64(20_000))
		require.Positive(t, r.LostForward)
		require.Positive(t, r.LostReverse)
		requireLoss(t, &r, records, hits(t, forward), hits(t, reverse))
	})
}

// TestRareLossOfFramesIsTheKernelsCount: the same of probes that leave as frames, at 5,000 a second.
func TestRareLossOfFramesIsTheKernelsCount(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	runWith(t, h2, ", mode: tc", fmt.Sprintf("reflector: {peers: [%s/32]}\ntargets: {}\n", h1.IPv4))
	var faults [2]*lab.Fault
	for i, r := range []lab.Rule{
		{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Every: 10_000},
		{From: h2, To: h1, SrcPort: lab.DefaultReflectorPort, Every: 10_000},
	} {
		var err error
		faults[i], err = l.Fabric().Drop(r)
		require.NoError(t, err)
	}
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	near := (&running{host: h1, datapath: ", mode: tc, interfaces: [eth0]", pace: "ports: 20, interval: 4ms",
		probing: ", emit: packet, max_rate_per_target: 5000"}).begin(t, oneTarget)
	near.logs(t, "probes leave as frames")
	eventually(t, func() bool { return hits(t, faults[0]) >= 2 && hits(t, faults[1]) >= 2 }, "two drops each way")
	near.stop(t)
	records, err := tap.Stop()
	require.NoError(t, err)
	sum, _ := pathTo(readLines(t, near.output), "one")
	reasons := reasonsOf(t, near)
	r := result{counts: sum, Overrun: reasons["overrun"], Reasons: reasons}
	r.NotSent -= r.Overrun
	require.Positive(t, r.LostForward)
	require.Positive(t, r.LostReverse)
	requireLoss(t, &r, records, hits(t, faults[0]), hits(t, faults[1]))
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
