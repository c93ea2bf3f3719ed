package probe

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHistBucketsAreWithinTheStatedError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64Range(0, 1<<maxBits-1).Draw(t, "ns")
		require.LessOrEqual(t, math.Abs(middleOf(bucketOf(v))-float64(v)), RelativeError*float64(v))
	})
}

func TestHistBucketsAscend(t *testing.T) {
	last := -1.0
	for b := range uint16(buckets) {
		require.Greater(t, middleOf(b), last, "bucket %d", b)
		require.Equal(t, b, bucketOf(uint64(middleOf(b))))
		last = middleOf(b)
	}
	require.EqualValues(t, buckets-1, bucketOf(math.MaxUint64))
}

func TestHistQuantilesAgainstSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := rapid.SliceOfN(rapid.Int64Range(0, 1<<36), 1, 2*maxSparse).Draw(t, "ns")
		cut := rapid.IntRange(0, len(vs)).Draw(t, "cut")
		var a, b Hist
		for _, v := range vs[:cut] {
			a.Record(v)
		}
		for _, v := range vs[cut:] {
			b.Record(v)
		}
		a.Merge(&b)
		slices.Sort(vs)
		s, ok := a.Summary()
		require.True(t, ok)
		require.EqualValues(t, len(vs), s.Count)
		require.EqualValues(t, vs[0], s.Min)
		require.EqualValues(t, vs[len(vs)-1], s.Max)
		for _, c := range []struct{ q, got float64 }{{0.5, s.P50}, {0.9, s.P90}, {0.99, s.P99}, {0.999, s.P999}} {
			want := float64(vs[max(0, int(math.Ceil(c.q*float64(len(vs))))-1)])
			require.InDelta(t, want, c.got, RelativeError*want+1e-9, "q %v of %v", c.q, vs)
		}
	})
}

func TestHistSparseAndDenseAgree(t *testing.T) {
	var sparse, dense Hist
	dense.toDense()
	for i := range int64(maxSparse) {
		sparse.Record(i * i * 1000)
		dense.Record(i * i * 1000)
	}
	require.NotNil(t, sparse.sparse)
	a, _ := sparse.Summary()
	b, _ := dense.Summary()
	require.Equal(t, a, b)
}

func TestHistEmptyHasNoSummary(t *testing.T) {
	var h Hist
	_, ok := h.Summary()
	require.False(t, ok)
	h.Record(5)
	h.Reset()
	_, ok = h.Summary()
	require.False(t, ok)
}

// What was in a histogram before is in it no more, whatever memory it keeps.
func TestHistResetLeavesNothing(t *testing.T) {
	var h Hist
	for _, n := range []int64{3, maxSparse + 10, maxSparse + 5, 7, 0, 2} {
		h.Reset()
		var want Hist
		for i := range n {
			h.Record(i * i * 1000)
			want.Record(i * i * 1000)
		}
		a, _ := h.Summary()
		b, _ := want.Summary()
		require.Equal(t, b, a, "%d values", n)
	}
	require.Nil(t, h.dense, "few values need no array")
}

func TestHistRecordDoesNotAllocate(t *testing.T) {
	var h Hist
	for i := range int64(maxSparse + 1) {
		h.Record(i)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { h.Record(12345) }))
}

func TestHistWithout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(rapid.Int64Range(0, 1<<36), 1, 2*maxSparse)
		mine, others := some.Draw(t, "mine"), some.Draw(t, "others")
		var all, a, b Hist
		for _, v := range mine {
			a.Record(v)
		}
		for _, v := range others {
			b.Record(v)
		}
		all.Merge(&a)
		all.Merge(&b)
		got := all.Without(&a)
		require.Equal(t, b.Count(), got.Count())
		for i, v := range got.Quantiles(0.1, 0.5, 0.9) {
			require.InEpsilon(t, b.Quantiles(0.1, 0.5, 0.9)[i]+1, v+1, 2*RelativeError)
		}
	})
}
