package reflector

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// rate is a token bucket in the form of GCRA: one theoretical arrival time for
// each source is all its state.
type rate struct {
	interval  int64 // ns between requests at the full rate
	tolerance int64 // ns that a burst may run ahead
}

// newRate allows bursts of 100 ms' worth of requests, 32 at the least.
func newRate(perSecond, byDefault int) rate {
	if perSecond <= 0 {
		perSecond = byDefault
	}
	interval := max(1, int64(1e9)/int64(perSecond))
	burst := max(32, int64(perSecond)/10)
	return rate{interval: interval, tolerance: (burst - 1) * interval}
}

// limiter is the rate state of one source address, shared by all workers.
type limiter struct {
	tat atomic.Int64 // theoretical arrival time, ns monotonic

	addr addr16
	refs int // under the mutex of limiters
	next *limiter
}

// allow tells whether a request that is looked at now and came at arrived (ns,
// monotonic, not after now) is within the rate. What waited in the socket while
// this host was busy uses up the time at which it came.
func (l *limiter) allow(now, arrived int64, r rate) bool {
	for {
		tat := l.tat.Load()
		if tat-now > r.tolerance {
			return false
		}
		if l.tat.CompareAndSwap(tat, max(tat, arrived)+r.interval) {
			return true
		}
	}
}

const limiterBuckets = 1 << 13

// limiters holds the limiter of every source that has a session in some worker.
// It is bounded by the workers' session tables, whose sources refer to it, and
// so nothing has to be evicted here. The mutex is taken when a source comes or
// goes, never for a packet of a known session.
type limiters struct {
	seed maphash.Seed

	mu      sync.Mutex // protects the fields below
	buckets [limiterBuckets]*limiter
	free    *limiter
}

func newLimiters() *limiters { return &limiters{seed: maphash.MakeSeed()} }

func (t *limiters) get(a addr16) *limiter {
	h := maphash.Bytes(t.seed, a[:]) % limiterBuckets
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := t.buckets[h]; l != nil; l = l.next {
		if l.addr == a {
			l.refs++
			return l
		}
	}
	l := t.free
	if l == nil {
		l = new(limiter)
	} else {
		t.free = l.next
	}
	l.addr, l.refs, l.next = a, 1, t.buckets[h]
	l.tat.Store(0)
	t.buckets[h] = l
	return l
}

func (t *limiters) put(l *limiter) {
	h := maphash.Bytes(t.seed, l.addr[:]) % limiterBuckets
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.refs--; l.refs > 0 {
		return
	}
	for p := &t.buckets[h]; *p != nil; p = &(*p).next {
		if *p == l {
			*p = l.next
			break
		}
	}
	l.next, t.free = t.free, l
}
