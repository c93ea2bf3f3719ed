package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// QueueOptions bound an output's queue and its patience. A zero value takes the
// default in brackets.
type QueueOptions struct {
	MaxBatches int           // waiting batches (4096)
	MaxBytes   int           // octets of waiting batches (64 MiB)
	RetryMin   time.Duration // first wait after a failure (500 ms), doubled up to
	RetryMax   time.Duration // (1 min); a Retry-After may ask for up to five times that
	Log        *slog.Logger  // (slog.Default)
}

// Queue is an [Output] that keeps batches in memory for a [Writer], oldest first.
// When it is full the oldest goes: the newest measurements are worth most.
type Queue struct {
	w      Writer
	opt    QueueOptions
	log    *slog.Logger
	wake   chan struct{}
	ending chan struct{} // closed by Close
	done   chan struct{} // closed when the worker has ended
	cancel context.CancelFunc

	closeOnce  sync.Once
	closeErr   error
	refusedLog limiter
	downLog    limiter
	dropLog    limiter

	mu      sync.Mutex // protects the fields below
	waiting []Batch
	bytes   int    // of waiting
	flight  *Batch // the batch the worker holds
	closed  bool
	stats   Stats // but for what waits
}

// NewQueue starts delivering to w, which it owns from then on.
func NewQueue(w Writer, o QueueOptions) *Queue {
	o.MaxBatches = orDefault(o.MaxBatches, 4096)
	o.MaxBytes = orDefault(o.MaxBytes, 64<<20)
	o.RetryMin = orDefault(o.RetryMin, 500*time.Millisecond)
	o.RetryMax = max(orDefault(o.RetryMax, time.Minute), o.RetryMin)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue{
		w: w, opt: o, log: o.Log.With("sink", w.Name()),
		wake: make(chan struct{}, 1), ending: make(chan struct{}), done: make(chan struct{}),
		cancel:     cancel,
		refusedLog: limiter{every: time.Minute},
		downLog:    limiter{every: time.Minute},
		dropLog:    limiter{every: time.Minute},
	}
	go q.work(ctx)
	return q
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Name names the destination.
func (q *Queue) Name() string { return q.w.Name() }

// Enqueue takes b, and drops the oldest batches if there is no room. It never blocks.
func (q *Queue) Enqueue(b Batch) {
	if len(b.Data) == 0 {
		return
	}
	q.mu.Lock()
	dropped := 0
	if q.closed || len(b.Data) > q.opt.MaxBytes {
		dropped = 1
		q.drop(b)
	} else {
		q.stats.Accepted.add(b.Lines)
		for len(q.waiting) > 0 && (len(q.waiting) >= q.opt.MaxBatches || q.bytes+len(b.Data) > q.opt.MaxBytes) {
			q.drop(q.pop())
			dropped++
		}
		q.waiting = append(q.waiting, b)
		q.bytes += len(b.Data)
	}
	q.mu.Unlock()
	if dropped > 0 {
		q.sayDropped(dropped, "no room in the queue")
	}
	select {
	case q.wake <- struct{}{}:
	default: // it is awake, or will be
	}
}

func (q *Queue) sayDropped(batches int, why string) {
	if held, ok := q.dropLog.allow(time.Now()); ok {
		q.log.Warn("batches dropped", "batches", batches, "reason", why, "similar_not_logged", held)
	}
}

// Stats returns the counters so far.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.WaitingBytes = int64(q.bytes)
	for _, b := range q.waiting {
		s.Waiting.add(b.Lines)
	}
	if q.flight != nil {
		s.Waiting.add(q.flight.Lines)
		s.WaitingBytes += int64(len(q.flight.Data))
	}
	return s
}

// Reopen opens the writer's destination anew, if it knows how to.
func (q *Queue) Reopen() error {
	if r, ok := q.w.(Reopener); ok {
		return r.Reopen()
	}
	return nil
}

// closeGrace is how long Close waits for a write that it has cancelled, and how long
// it delivers if its context has no deadline.
const (
	closeGrace   = 250 * time.Millisecond
	closeDefault = 5 * time.Second
)

// Close delivers what is queued until ctx ends, then drops the rest. A writer that
// cannot be interrupted (a blocked pipe) is left behind.
func (q *Queue) Close(ctx context.Context) error {
	q.closeOnce.Do(func() { q.closeErr = q.close(ctx) })
	return q.closeErr
}

func (q *Queue) close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeDefault)
		defer cancel()
	}
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	close(q.ending)
	ended := true
	select {
	case <-q.done:
	case <-ctx.Done():
		q.cancel()
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-q.done:
		case <-grace.C:
			ended = false
		}
	}
	q.cancel()
	batches, lines := q.abandon()
	var err error
	if ended {
		err = q.w.Close()
	}
	if batches > 0 {
		q.sayDropped(batches, "not delivered before the end")
		return fmt.Errorf("close sink %s: %d batches (%d lines) not delivered", q.Name(), batches, lines)
	}
	return err
}

// abandon drops whatever is left.
func (q *Queue) abandon() (batches, lines int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flight != nil {
		batches, lines = 1, q.flight.Lines
		q.drop(*q.flight)
		q.flight = nil
	}
	for len(q.waiting) > 0 {
		b := q.pop()
		batches++
		lines += b.Lines
		q.drop(b)
	}
	return batches, lines
}

// pop and drop are called with mu held.
func (q *Queue) pop() Batch {
	b := q.waiting[0]
	q.waiting[0] = Batch{} // the array stays, its memory must not
	q.waiting = q.waiting[1:]
	q.bytes -= len(b.Data)
	return b
}

func (q *Queue) drop(b Batch) {
	why := DropFull
	if q.closed {
		why = DropStopped
	}
	q.stats.Dropped[why].add(b.Lines)
}

// jittered returns d, less up to a half: agents that lost the same server must not
// come back as one.
func jittered(d time.Duration) time.Duration { return d - rand.N(d/2+1) }
