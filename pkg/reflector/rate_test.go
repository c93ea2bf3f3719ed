package reflector

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRateAllowsBurstThenRate(t *testing.T) {
	r := newRate(1000, 0)
	var l limiter
	now, allowed := int64(5e9), 0
	for range 500 {
		if l.allow(now, now, r) {
			allowed++
		}
	}
	require.Equal(t, 100, allowed, "100 ms' worth at once")
	require.False(t, l.allow(now+999_999, now+999_999, r))
	require.True(t, l.allow(now+1_000_000, now+1_000_000, r), "one more after the interval")
	require.False(t, l.allow(now+1_000_000, now+1_000_000, r))

	allowed = 0
	for i := range int64(1_000_000) { // a second at 1 µs
		if l.allow(now+1_000_000+i*1000, now+1_000_000+i*1000, r) {
			allowed++
		}
	}
	require.InDelta(t, 1000, allowed, 1)
}

func TestRateDefaultsAndSmallBurst(t *testing.T) {
	require.Equal(t, newRate(DefaultPeerRate, 0), newRate(0, DefaultPeerRate))
	r := newRate(1, 0)
	var l limiter
	allowed := 0
	for range 100 {
		if l.allow(1, 1, r) {
			allowed++
		}
	}
	require.Equal(t, 32, allowed)
}

// The workers share a source's rate: together they get no more than one would.
func TestRateIsSharedByWorkers(t *testing.T) {
	r := newRate(10_000, 0)
	limits := newLimiters()
	keep := limits.get(addr16{15: 1}) // so that no goroutine's end begins it anew
	var wg sync.WaitGroup
	var allowed atomic.Int64
	for range 8 {
		wg.Go(func() {
			l := limits.get(addr16{15: 1})
			defer limits.put(l)
			for range 10_000 {
				if l.allow(1, 1, r) {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1000, allowed.Load())
	require.Nil(t, limits.free)
	limits.put(keep)
	require.Same(t, keep, limits.free, "the last one gives it back")
}

// What waited while the reflector was stopped came in its time, and is answered.
func TestRateCountsTheTimeOfArrival(t *testing.T) {
	r := newRate(1000, 0)
	var late, lump limiter
	now := int64(10e9)
	for i := range int64(300) {
		require.True(t, late.allow(now, now-300e6+i*1e6, r), "%d", i)
	}
	allowed := 0
	for range 300 {
		if lump.allow(now, now, r) {
			allowed++
		}
	}
	require.Equal(t, 100, allowed, "the same number that came at once")
}
