package sink

import (
	"sync"
	"time"
)

// limiter lets one event through an interval, so that a fault that repeats
// with every window or batch is one line in the log and not a flood.
type limiter struct {
	every time.Duration

	mu   sync.Mutex // protects the fields below
	next time.Time
	held uint64
}

// allow reports whether the event may be logged, and how many were held back
// since the last one that was.
func (l *limiter) allow(now time.Time) (held uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.held++
		return 0, false
	}
	held, l.held = l.held, 0
	l.next = now.Add(l.every)
	return held, true
}
