//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// measured is two agents, both in the kernel on one step: near probes far.
type measured struct {
	*lab.Lab
	h1, h2    *lab.Host
	near, far *running
}

func measure(t *testing.T, mode string) *measured { return measureWith(t, mode, "") }

// measureWith says more of near's probing too, such as ", emit: packet".
func measureWith(t *testing.T, mode, probing string) *measured {
	t.Helper()
	m := &measured{Lab: lab.ForTest(t, 2)}
	m.h1, m.h2 = m.Host(1), m.Host(2)
	if mode == "native" {
		require.NoError(t, m.Fabric().PassXDP(m.h1))
		require.NoError(t, m.Fabric().PassXDP(m.h2))
	}
	datapath := fmt.Sprintf(", mode: %s, interfaces: [eth0]", mode)
	m.far = runWith(t, m.h2, datapath, "targets: {}\n")
	m.near = (&running{host: m.h1, datapath: datapath, probing: probing}).begin(t,
		fmt.Sprintf("targets:\n  four: {address: %s}\n  six: {address: \"%s\"}\n", m.h2.IPv4, m.h2.IPv6))
	return m
}

// hopTolerance is how far the median may be from the fabric's, in microseconds: between T1, T4 and the tap lies a hop
// from one namespace to another, each way, which a busy machine makes longer. How long, `make bench` says.
const hopTolerance = 40.0

// byClock sums the lines of llama_path, by their clock.
func byClock(lines []line) map[string]counts {
	sums := map[string]counts{}
	for _, clock := range []string{"kernel", "socket", "user", "mixed"} {
		of := slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return l.tags["clock"] != clock })
		four, n := pathTo(of, "four")
		six, m := pathTo(of, "six")
		if n+m > 0 {
			sums[clock] = four.plus(six)
		}
	}
	return sums
}

// TestMeasuresInTheKernel: T1 and T4 are the kernel's, and what comes out is the fabric's.
func TestMeasuresInTheKernel(t *testing.T) {
	eachKernelMode(t, func(t *testing.T, mode string) {
		m := measure(t, mode)
		m.near.writes(t, "four", 2)
		m.requireTruth(t)
		m.near.stop(t)

		lines := readLines(t, m.near.output)
		sums := byClock(lines)
		require.Len(t, sums, 1, "%v", sums)
		sum := sums["kernel"]
		require.Greater(t, sum.Received, int64(500))
		require.Equal(t, counts{Sent: sum.Sent, Received: sum.Received, NotSent: sum.NotSent}, sum)
		for _, l := range lines {
			require.Zero(t, l.ints["host_drops"], "what is captured is not dropped: %v", l)
		}

		agent := last(t, lines)
		require.Equal(t, sum.Received, agent["kernel_captured"])
		require.Zero(t, agent["kernel_ring_full"]+agent["kernel_not_in_flight"]+agent["kernel_no_flow"])
	})
}

// requireTruth holds the median RTT of some windows against that of the fabric at the same time. On a busy machine it
// may need another attempt: what an attempt has to show stays the same.
func (m *measured) requireTruth(t *testing.T) {
	t.Helper()
	const attempts = 4
	for i := 1; ; i++ {
		_, before := pathTo(readLines(t, m.near.output), "four")
		tap, err := m.Fabric().Tap(m.h1)
		require.NoError(t, err)
		from := time.Now()
		m.near.writes(t, "four", before+4)
		records, err := tap.Stop()
		require.NoError(t, err)
		var truth []time.Duration
		for _, x := range lab.RTTTruth(records, lab.TruthOptions{}).RTTs {
			truth = append(truth, x.Network)
		}
		slices.Sort(truth)
		want := float64(truth[len(truth)/2]) / 1000
		var got []float64
		for _, l := range readLines(t, m.near.output) {
			if p50, ok := l.floats["rtt_p50_us"]; ok && l.at.After(from.Add(time.Second)) {
				got = append(got, p50)
			}
		}
		slices.Sort(got)
		is := got[len(got)/2]
		t.Logf("attempt %d: p50 %.2f µs, of the fabric %.2f µs, difference %+.2f µs", i, is, want, is-want)
		if is-want > -rttTolerance && is-want <= hopTolerance {
			return
		}
		require.Less(t, i, attempts, "p50 %v µs, truth %v µs", is, want)
	}
}

// TestLossInTheKernelIsTheFabrics holds the directions against the counters of nftables.
func TestLossInTheKernelIsTheFabrics(t *testing.T) {
	lab.Require(t, lab.Nftables)
	m := measure(t, "tc")
	m.near.writes(t, "four", 2)
	forward, err := m.Fabric().Drop(lab.Rule{From: m.h1, To: m.h2, DstPort: lab.DefaultReflectorPort, Ratio: 0.05})
	require.NoError(t, err)
	m.near.writes(t, "four", 5)
	n := take(t, forward)
	reverse, err := m.Fabric().Drop(lab.Rule{From: m.h2, To: m.h1, SrcPort: lab.DefaultReflectorPort, Ratio: 0.05})
	require.NoError(t, err)
	m.near.writes(t, "four", 9)
	r := take(t, reverse)
	m.near.writes(t, "four", 11)
	m.near.stop(t)
	sum := byClock(readLines(t, m.near.output))["kernel"]
	require.Positive(t, n)
	require.Positive(t, r)
	require.EqualValues(t, n, sum.LostForward, "%+v", sum)
	require.EqualValues(t, r, sum.LostReverse, "%+v", sum)
	require.Zero(t, sum.LostUnsplit+sum.LocalDrop+sum.Refused)
}

// take ends a fault, and says how many packets it dropped.
func take(t *testing.T, f *lab.Fault) int64 {
	t.Helper()
	require.NoError(t, f.Remove())
	return hits(t, f)
}
