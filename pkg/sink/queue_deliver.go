package sink

import (
	"context"
	"errors"
	"time"
)

// delivering is the state of the goroutine that delivers.
type delivering struct {
	unpacker unpacker
	failLog  limiter
	class    string        // of the last failure that was logged; "": the last attempt succeeded
	backoff  time.Duration // after the next failure; 0: the last attempt succeeded
	retryAt  time.Time     // nothing is tried before that
	last     *entry        // that failed last
	newest   bool          // whether the newest was tried last
	doubtful []*entry      // suspects, and the one that failed last
	stopping bool          // an attempt has failed since the queue was closed
}

const (
	// fresh is the age above which a batch is backlog: then the newest and the oldest
	// take turns, so that neither waits for the other.
	fresh = time.Minute
	// poisonTries is how often the destination may fail on a batch, each time while it
	// takes others, until that one is put aside.
	poisonTries = 8
)

// deliver delivers until the queue is closed and nothing is left that should be
// delivered now, or ctx ends.
func (q *Queue) deliver(ctx context.Context) {
	defer close(q.delivered)
	for ctx.Err() == nil {
		q.takeNews()
		now := time.Now()
		q.expire(now)
		e, at, ended := q.choose(now)
		switch {
		case e != nil:
			q.settle(ctx, e, q.send(ctx, e))
		case ended:
			return
		default:
			q.await(ctx, at)
		}
	}
}

// takeNews closes writers that were replaced; their successor starts without a wait.
func (q *Queue) takeNews() {
	q.mu.Lock()
	old, changed := q.old, q.changed
	q.old, q.changed = nil, false
	q.mu.Unlock()
	if changed {
		q.backoff, q.retryAt = 0, time.Time{}
	}
	for _, w := range old {
		if err := w.Close(); err != nil {
			q.log.Warn("close replaced sink", "err", err)
		}
	}
}

// await waits for news or the time at, if that is one.
func (q *Queue) await(ctx context.Context, at time.Time) {
	var after <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		after = t.C
	}
	ending := q.ending
	select {
	case <-ending: // it is known already
		ending = nil
	default:
	}
	select {
	case <-q.wake:
	case <-ending:
	case <-after:
	case <-ctx.Done():
	}
}

// choose returns the batch to try now, or when to look again (zero: when there is
// news), or that this was all.
func (q *Queue) choose(now time.Time) (e *entry, at time.Time, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	retryAt := q.retryAt
	if q.closed {
		select {
		case <-q.accepted:
			b := &q.backlog
			failing := q.stopping || now.Before(retryAt) || b.first() == nil
			if len(b.list) == 0 || failing && b.unfile == 0 { // what is on disk can wait for the next process
				return nil, time.Time{}, true
			}
		default:
		}
		if soon := now.Add(closeGrace); retryAt.After(soon) { // no time for long waits
			q.retryAt, retryAt = soon, soon
		}
	}
	if now.Before(retryAt) {
		return nil, retryAt, false
	}
	if q.opt.Ordered {
		if len(q.backlog.list) > 0 {
			e = q.backlog.list[0]
		}
	} else {
		e, at = q.pick(now)
	}
	if e != nil {
		e.busy = true
	}
	return e, at, false
}

// pick chooses among suspects whose time has come, the oldest and the newest.
func (q *Queue) pick(now time.Time) (e *entry, at time.Time) {
	soonest := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	oldest := q.backlog.first()
	for _, s := range q.doubtful {
		switch {
		case s.gone || !s.suspect():
		case oldest != nil && (s.failed || q.last != nil): // another first, to see whether that is taken
		case !s.next.After(now) || q.closed:
			return s, now
		default:
			soonest(s.next)
		}
	}
	if oldest == nil {
		return nil, at
	}
	if oldest.due.After(now) && !q.closed {
		soonest(oldest.due)
		return nil, at
	}
	newest := q.backlog.last(now)
	if newest == nil {
		newest = oldest
	}
	q.newest = !q.newest && now.Sub(oldest.due) > fresh
	e = oldest
	if q.newest || oldest == q.last {
		e = newest
	}
	if e == q.last && oldest != q.last {
		e = oldest
	}
	return e, now
}

// send delivers one batch.
func (q *Queue) send(ctx context.Context, e *entry) (out outcome) {
	b, err := q.load(e)
	var damage *damageError
	switch {
	case errors.As(err, &damage):
		return outcome{damaged: err}
	case err != nil:
		return outcome{err: &Failure{Class: ErrorLocal, Err: err}}
	}
	b.ID = e.id
	q.mu.Lock()
	w := q.w
	q.mu.Unlock()
	return deliverBatch(ctx, w, b)
}

// load reads a batch back.
func (q *Queue) load(e *entry) (Batch, error) {
	q.mu.Lock()
	body, file, gz := e.body, e.file, e.gz
	q.mu.Unlock()
	if file != "" {
		var err error
		if body, err = q.folder.read(file, e.size); err != nil {
			return Batch{}, err
		}
	}
	if !gz {
		return Batch{Data: body, Lines: e.lines}, nil
	}
	b, err := q.unpacker.unpack(body, e.lines)
	if err != nil {
		return Batch{}, &damageError{err}
	}
	return b, nil
}

// damageError says that a file is not what was written: to read it again is in vain.
type damageError struct{ error }

func (e *damageError) Unwrap() error { return e.error }

// settle notes what became of a batch.
func (q *Queue) settle(ctx context.Context, e *entry, out outcome) {
	q.countErrors(out)
	var f *Failure
	switch {
	case out.damaged != nil:
		q.putAside(e, DropDamaged, out.damaged)
		return
	case out.err == nil:
		q.taken(e, out)
		return
	case ctx.Err() != nil: // the end came between: nothing is known of the batch
		q.release(e)
		return
	case !errors.As(out.err, &f):
		f = &Failure{Class: classOf(out.err), Err: out.err}
	}
	q.postpone(e, f)
}
