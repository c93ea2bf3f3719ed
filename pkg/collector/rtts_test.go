package collector

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// Listed or not, and after whatever window before, each flow's RTTs are those that were
// recorded, and together they are the path's.
func TestRTTsOfAFlowAreItsOwn(t *testing.T) {
	const flows = 3
	rapid.Check(t, func(t *rapid.T) {
		r := rtts{flows: flows}
		for range rapid.IntRange(1, 4).Draw(t, "windows") {
			var all probe.Hist
			var each [flows]probe.Hist
			for range rapid.IntRange(0, 3*flows*listedAFlow).Draw(t, "RTTs") {
				f := rapid.IntRange(0, flows-1).Draw(t, "flow")
				ns := rapid.Int64Range(0, 1<<50).Draw(t, "ns")
				r.record(uint16(f), ns)
				each[f].Record(ns)
				all.Record(ns)
			}
			require.Equal(t, all.Count() == 0, r.empty())
			var got probe.Hist
			r.addTo(&got)
			requireSame(t, &all, &got)
			r.sort()
			for i := range each {
				requireSame(t, &each[i], r.of(i, &probe.Hist{}))
			}
			r.reset()
			require.True(t, r.empty())
		}
	})
}

func requireSame(t require.TestingT, want, got *probe.Hist) {
	a, _ := want.Summary()
	b, _ := got.Summary()
	require.Equal(t, a, b)
}
