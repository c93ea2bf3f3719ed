//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestBlackHoleBySize: the fabric drops what is longer than 1,400 octets, one way or the other. The largest size
// that passes is told, and what was lost is what the kernel counted, no more and no less.
func TestBlackHoleBySize(t *testing.T) {
	t.Parallel()
	for _, reverse := range []bool{false, true} {
		t.Run(map[bool]string{false: "forward", true: "reverse"}[reverse], func(t *testing.T) {
			t.Parallel()
			families(t, func(t *testing.T, six bool) { blackHole(t, six, reverse) })
		})
	}
}

func blackHole(t *testing.T, six, reverse bool) {
	l := lab.ForTest(t, 2)
	lab.Require(t, lab.Nftables)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	rule := lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, LongerThan: 1400}
	if reverse {
		rule = lab.Rule{From: h2, To: h1, SrcPort: lab.DefaultReflectorPort, LongerThan: 1400}
	}
	fault, err := l.Fabric().Drop(rule)
	require.NoError(t, err)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	r := runProbing(t, h1, ", sizes: [64, 1280, 1400, 1401, 1500, 1501]", fmt.Sprintf("targets:\n  one: {address: %q}\n", h2.Addr(six)))
	r.writes(t, "one", 4)
	r.stop(t)
	left := requests(t, tap)
	lines := readLines(t, r.output)
	sum, _ := pathTo(lines, "one")
	t.Logf("%+v", sum)
	require.Equal(t, left[h2.Addr(six).String()], sum.Sent)
	require.Equal(t, hits(t, fault), sum.Lost, "the kernel's counter")
	require.Equal(t, sum.Sent, sum.Received+sum.Late+sum.Lost)
	if reverse {
		require.Zero(t, sum.LostForward)
		require.Positive(t, sum.LostReverse)
	} else {
		require.Zero(t, sum.LostReverse)
		require.Positive(t, sum.LostForward)
	}
	own := last(t, lines)
	require.Positive(t, own["collector_not_sent_too_big"], "1501 octets do not fit the host's own interface")
	require.Equal(t, own["collector_not_sent_too_big"]+own["collector_not_sent_overrun"], sum.NotSent)

	whole := 0
	sent, lost := map[string]int64{}, map[string]int64{}
	for _, x := range lines {
		switch x.measurement {
		case "llama_path":
			if x.ints["sent"] > 30 { // a first or last window may be too short for all sizes
				whole++
				require.EqualValues(t, 1400, x.ints["size_max"])
				require.EqualValues(t, 1500, x.ints["size_max_sent"])
			}
		case "llama_size":
			sent[x.tags["size"]] += x.ints["sent"]
			lost[x.tags["size"]] += x.ints["sent"] - x.ints["received"]
		}
	}
	require.Positive(t, whole)
	shortest := map[bool]string{false: "96", true: "116"}[six]
	require.Len(t, sent, 6)
	require.Zero(t, sent["1501"])
	require.Equal(t, sum.Sent, sent[shortest]+sent["1280"]+sent["1400"]+sent["1401"]+sent["1500"])
	require.Equal(t, sum.Lost, lost["1401"]+lost["1500"])
	require.Equal(t, sum.Late, lost[shortest]+lost["1280"]+lost["1400"])
	for _, size := range []string{shortest, "1280", "1400", "1401", "1500"} {
		require.InDelta(t, sum.Sent/5, sent[size], float64(sum.Sent)/20+4, "every size has its turn: %s", size)
	}
}
