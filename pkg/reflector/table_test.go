package reflector

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func testTable(maxSessions, perSource int, idle int64) *table {
	return newTable(maxSessions, perSource, idle, newLimiters())
}

// testKeyOf makes the key of session n of a source.
func testKeyOf(source byte, n uint32) (k key) {
	k[15] = source
	binary.BigEndian.PutUint32(k[32:], n)
	return k
}

func mustAdd(t *testing.T, tab *table, k key, now int64) *session {
	t.Helper()
	require.Nil(t, tab.find(&k))
	s := tab.add(&k, now)
	require.NotNil(t, s)
	require.Same(t, s, tab.find(&k))
	return s
}

// check walks everything that a table consists of.
func check(t *testing.T, tab *table) {
	t.Helper()
	inBuckets, inSources := 0, 0
	for _, s := range tab.sessions {
		for ; s != nil; s = s.chain {
			inBuckets++
		}
	}
	for _, src := range tab.sources {
		for ; src != nil; src = src.chain {
			n := 0
			for s := src.sessions.front; s != nil; s = s.links[ofSource].next {
				require.Same(t, src, s.source)
				n++
			}
			require.Equal(t, src.n, n)
			require.Positive(t, n)
			require.LessOrEqual(t, n, tab.perSource)
			inSources += n
		}
	}
	inAll, last := 0, int64(1<<62)
	for s := tab.all.front; s != nil; s = s.links[ofTable].next {
		require.LessOrEqual(t, s.seen, last, "the last used is in front")
		last = s.seen
		inAll++
	}
	require.EqualValues(t, tab.n.Load(), inBuckets)
	require.Equal(t, inBuckets, inSources)
	require.Equal(t, inBuckets, inAll)
	require.LessOrEqual(t, inBuckets, tab.max)
}

func TestSourceLosesOnlyItsOwnOldest(t *testing.T) {
	tab := testTable(100, 4, 1000)
	other := mustAdd(t, tab, testKeyOf(2, 0), 1)
	for i := range uint32(4) {
		mustAdd(t, tab, testKeyOf(1, i), int64(2+i))
	}
	first := testKeyOf(1, 0)
	tab.touch(tab.find(&first), 10) // so that 1 is the oldest
	mustAdd(t, tab, testKeyOf(1, 4), 11)
	check(t, tab)

	for i, alive := range []bool{true, false, true, true, true} {
		k := testKeyOf(1, uint32(i))
		require.Equal(t, alive, tab.find(&k) != nil, i)
	}
	require.Same(t, other, tab.find(&other.key), "older, but of another source")
	require.EqualValues(t, 1, tab.evicted.Load())
}

func TestFullTable(t *testing.T) {
	tab := testTable(4, 4, 1000)
	for i := range byte(4) {
		mustAdd(t, tab, testKeyOf(i, 0), 100+int64(i))
	}
	fresh := testKeyOf(9, 0)
	require.Nil(t, tab.add(&fresh, 1099), "all others are in use")
	own := mustAdd(t, tab, testKeyOf(3, 1), 1099)
	require.EqualValues(t, 4, tab.n.Load(), "a source may replace its own")
	check(t, tab)
	mustAdd(t, tab, fresh, 1100) // source 0 has been idle for long enough
	gone := testKeyOf(0, 0)
	require.Nil(t, tab.find(&gone))
	require.Same(t, own, tab.find(&own.key))
	check(t, tab)
}

func TestEvictedSessionStartsAnew(t *testing.T) {
	tab := testTable(1, 1, 0)
	s := mustAdd(t, tab, testKeyOf(1, 0), 1)
	s.rx, s.tx = 7, 7
	gen := s.gen
	again := mustAdd(t, tab, testKeyOf(1, 1), 2)
	require.Same(t, s, again, "the memory is used again")
	require.Zero(t, again.rx+again.tx)
	require.NotEqual(t, gen, again.gen)
	require.Len(t, tab.limiters.bucketed(), 1)
	tab.remove(again)
	check(t, tab)
	require.Empty(t, tab.limiters.bucketed())
}

func (t *limiters) bucketed() (out []*limiter) {
	for _, l := range t.buckets {
		for ; l != nil; l = l.next {
			out = append(out, l)
		}
	}
	return out
}

func TestChurnDoesNotAllocate(t *testing.T) {
	tab := testTable(256, 64, 0)
	n := uint32(0)
	churn := func() {
		k := testKeyOf(byte(n%7), n)
		binary.BigEndian.PutUint32(k[0:], n/3) // sources come and go as well
		n++
		if tab.add(&k, int64(n)) == nil {
			t.Fatal("no room")
		}
	}
	for range 2000 {
		churn()
	}
	require.Zero(t, testing.AllocsPerRun(5000, churn))
	check(t, tab)
	require.EqualValues(t, 256, tab.n.Load())
}
