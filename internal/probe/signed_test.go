package probe

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSignedHistAgainstSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := rapid.SliceOfN(rapid.Int64Range(-1<<36, 1<<36), 1, 2*maxSparse).Draw(t, "ns")
		cut := rapid.IntRange(0, len(vs)).Draw(t, "cut")
		var a, b SignedHist
		for _, v := range vs[:cut] {
			a.Record(v)
		}
		for _, v := range vs[cut:] {
			b.Record(v)
		}
		a.Merge(&b)
		require.EqualValues(t, len(vs), a.Count())
		slices.Sort(vs)
		for _, q := range []float64{0, 0.1, 0.5, 0.99, 1} {
			want := float64(vs[max(1, int(math.Ceil(q*float64(len(vs))-1e-6)))-1])
			got, ok := a.Quantile(q)
			require.True(t, ok)
			require.LessOrEqual(t, math.Abs(got-want), RelativeError*math.Abs(want), "q %g of %v", q, vs)
		}
	})
}

func TestSignedHistIsEmpty(t *testing.T) {
	var h SignedHist
	_, ok := h.Quantile(0.5)
	require.False(t, ok)
	require.Zero(t, h.Count())
}
