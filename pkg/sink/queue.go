package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// QueueOptions bound an output's queue and its patience. A zero value takes the
// default in brackets.
type QueueOptions struct {
	Spool SpoolOptions

	MaxBatches int // waiting in memory (4096)
	MaxBytes   int // octets of these (64 MiB)

	// A batch ends at so many lines (5000) or octets (1 MiB), or after so long (0: what
	// is there goes at once).
	BatchLines int
	BatchBytes int
	BatchAge   time.Duration

	Compress bool          // keep batches compressed in memory too, as a Writer of requests wants them
	Ordered  bool          // strictly one after the other, as they came: for files and streams
	Delay    time.Duration // of every batch: agents that measure in step need not push in step

	RetryMin time.Duration // first wait after a failure (500 ms), doubled up to
	RetryMax time.Duration // (1 min); a Retry-After may ask for up to five times that
	Log      *slog.Logger  // (slog.Default)
}

func (o *QueueOptions) defaults() {
	o.MaxBatches = orDefault(o.MaxBatches, 4096)
	o.MaxBytes = orDefault(o.MaxBytes, 64<<20)
	o.BatchLines = orDefault(o.BatchLines, 5000)
	o.BatchBytes = orDefault(o.BatchBytes, 1<<20)
	o.Spool.MaxBytes = orDefault(o.Spool.MaxBytes, 1<<30)
	o.Spool.MaxAge = orDefault(o.Spool.MaxAge, 7*24*time.Hour)
	o.RetryMin = orDefault(o.RetryMin, 500*time.Millisecond)
	o.RetryMax = max(orDefault(o.RetryMax, time.Minute), o.RetryMin)
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Queue is an [Output] that keeps batches for a [Writer]: each in a file of a spool
// or, without one, in memory. One goroutine accepts batches, which a slow disk
// may hold up, another delivers them, which a slow destination may hold up; neither
// holds up whoever enqueues. When it is full the oldest goes: the newest
// measurements are worth most.
type Queue struct {
	name   string
	log    *slog.Logger
	more   chan struct{} // wakes the accepting goroutine
	wake   chan struct{} // wakes the delivering goroutine
	ending chan struct{} // closed by Close
	cancel context.CancelFunc

	accepted  chan struct{} // closed when the accepting goroutine has ended
	delivered chan struct{} // closed when the delivering goroutine has ended
	closeOnce sync.Once
	closeErr  error

	dropLog, spoolLog, asideLog, batchLog limiter

	accepting  // the state of the accepting goroutine
	delivering // the state of the delivering goroutine

	mu      sync.Mutex // protects the fields below
	opt     QueueOptions
	w       Writer
	old     []Writer // replaced: the delivering goroutine closes them
	changed bool     // w has been replaced: what it refused before may be right now
	intake  intake
	folder  *folder // nil: there is no spool, or it could not be opened yet
	backlog backlog
	closed  bool
	stats   Stats // but for what waits
}

// NewQueue starts delivering to w, which it owns from then on. A spool that
// cannot be opened is said in the log and tried again; meanwhile batches are in memory.
func NewQueue(w Writer, o QueueOptions) *Queue {
	o.defaults()
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue{
		name: w.Name(), log: o.Log.With("sink", w.Name()), opt: o, w: w, cancel: cancel,
		more: make(chan struct{}, 1), wake: make(chan struct{}, 1), ending: make(chan struct{}),
		accepted: make(chan struct{}), delivered: make(chan struct{}),
		dropLog:  limiter{every: time.Minute},
		spoolLog: limiter{every: time.Minute},
		asideLog: limiter{every: time.Minute},
		batchLog: limiter{every: time.Minute},
	}
	q.failLog = limiter{every: failAgain}
	q.openSpool(&o, time.Now())
	go q.accept()
	go q.deliver(ctx)
	return q
}

// Name names the destination.
func (q *Queue) Name() string { return q.name }

// Replace makes w the writer, and o the options but for the spool's path. The old
// writer is closed once its last request has ended; nothing that waits is lost.
func (q *Queue) Replace(w Writer, o QueueOptions) {
	o.defaults()
	q.mu.Lock()
	o.Spool.Path, o.Log = q.opt.Spool.Path, q.opt.Log
	q.old = append(q.old, q.w)
	q.w, q.opt, q.changed = w, o, true
	q.mu.Unlock()
	signal(q.wake)
}

// Enqueue takes b, and drops the oldest batches if there is no room. It never blocks.
func (q *Queue) Enqueue(b Batch) {
	if len(b.Data) == 0 {
		return
	}
	if !bytes.HasSuffix(b.Data, []byte{'\n'}) { // whole lines are what batches are joined from
		b.Data = append(bytes.Clone(b.Data), '\n')
	}
	q.mu.Lock()
	dropped := 0
	if q.closed {
		q.stats.Dropped[DropIntake].add(b.Lines)
		dropped++
	} else {
		dropped = q.intake.add(split(b.Data, q.opt.BatchBytes, q.opt.BatchLines), &q.opt, &q.stats)
	}
	q.mu.Unlock()
	if dropped > 0 {
		q.sayDropped(dropped, DropIntake)
	}
	signal(q.more)
}

// signal wakes whoever waits for ch; it may be awake, or have been told.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (q *Queue) sayDropped(batches int, why DropReason) {
	if held, ok := q.dropLog.allow(time.Now()); ok {
		q.log.Warn("batches dropped", "batches", batches, "reason", why, "similar_not_logged", held)
	}
}

// Stats returns the counters so far.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	b := &q.backlog
	s.Waiting = Tally{uint64(len(b.list)), b.lines}
	s.WaitingBytes = b.disk + b.memory
	if len(b.list) > 0 {
		s.OldestAge = max(time.Since(b.list[0].at), 0)
	}
	if q.opt.Spool.Path != "" {
		s.Unsaved = b.unfile
	}
	return s
}

// Reopen opens the writer's destination anew, if it knows how to.
func (q *Queue) Reopen() error {
	q.mu.Lock()
	w := q.w
	q.mu.Unlock()
	if r, ok := w.(Reopener); ok {
		return r.Reopen()
	}
	return nil
}

// closeGrace is how long Close waits for a write that it has cancelled, and between
// attempts; closeDefault how long it delivers if its context has no deadline.
const (
	closeGrace   = 250 * time.Millisecond
	closeDefault = 5 * time.Second
)

// Close delivers what is queued until ctx ends. The rest stays in the spool; what is
// in memory is dropped. A writer that cannot be interrupted (a blocked pipe) is left
// behind.
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
	ended := q.awaitEnd(ctx)
	q.cancel()
	lost := q.abandon()
	var err error
	if ended {
		err = q.closeAll()
	}
	if lost.Batches > 0 {
		q.sayDropped(int(lost.Batches), DropStopped)
		return fmt.Errorf("close sink %s: %d batches (%d lines) not delivered", q.Name(), lost.Batches, lost.Lines)
	}
	return err
}

// awaitEnd tells whether both goroutines have ended.
func (q *Queue) awaitEnd(ctx context.Context) bool {
	for _, done := range []chan struct{}{q.accepted, q.delivered} {
		select {
		case <-done:
			continue
		case <-ctx.Done():
		}
		q.cancel()
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-done:
		case <-grace.C:
			return false
		}
	}
	return true
}

// abandon drops what is in memory.
func (q *Queue) abandon() (lost Tally) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.intake.parts {
		lost.add(b.Lines)
		q.stats.Dropped[DropIntake].add(b.Lines)
	}
	q.intake = intake{}
	for _, e := range append([]*entry(nil), q.backlog.list...) {
		if e.file == "" {
			lost.add(e.lines)
			q.stats.Dropped[DropStopped].add(e.lines)
			q.backlog.remove(e)
		}
	}
	if n := len(q.backlog.list); n > 0 {
		q.log.Info("kept in the spool", "batches", n, "lines", q.backlog.lines)
	}
	return lost
}

// closeAll closes writers and folder; both goroutines have ended.
func (q *Queue) closeAll() error {
	var errs []error
	for _, w := range append(q.old, q.w) {
		errs = append(errs, w.Close())
	}
	if q.folder != nil {
		errs = append(errs, q.folder.close())
	}
	return errors.Join(errs...)
}

// jittered returns d, less up to a half: agents that lost the same server must not
// come back as one.
func jittered(d time.Duration) time.Duration { return d - rand.N(d/2+1) }
