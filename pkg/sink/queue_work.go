package sink

import (
	"context"
	"errors"
	"time"
)

// work delivers batches one after the other until the queue is closed and empty,
// or ctx ends.
func (q *Queue) work(ctx context.Context) {
	defer close(q.done)
	wait := q.opt.RetryMin
	failing := false
	for {
		b, ok := q.next(ctx)
		if !ok {
			return
		}
		for {
			err := q.w.Write(ctx, b)
			if err == nil || errors.Is(err, ErrRefused) {
				q.settle(b, err)
				if failing && err == nil {
					q.log.Info("delivering again")
				}
				failing, wait = false, q.opt.RetryMin
				break
			}
			failing = true
			if held, ok := q.downLog.allow(time.Now()); ok && ctx.Err() == nil {
				q.log.Warn("delivery delayed", "err", err, "queued_batches", q.Stats().Waiting.Batches, "similar_not_logged", held)
			}
			if !q.pause(ctx, q.delay(err, wait)) {
				return
			}
			wait = min(2*wait, q.opt.RetryMax)
			if !q.retry(b) {
				break
			}
		}
	}
}

// next waits for a batch and takes it; false at the end.
func (q *Queue) next(ctx context.Context) (Batch, bool) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 && ctx.Err() == nil {
			b := q.pop()
			q.flight = &b
			q.mu.Unlock()
			return b, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed || ctx.Err() != nil {
			return Batch{}, false
		}
		select {
		case <-q.wake:
		case <-q.ending:
		case <-ctx.Done():
		}
	}
}

// settle counts a batch that was written or refused.
func (q *Queue) settle(b Batch, refusal error) {
	q.mu.Lock()
	if q.flight == nil { // Close gave it up and counted it while the write went on
		q.mu.Unlock()
		return
	}
	q.flight = nil
	q.stats.Delivered.Batches++
	if refusal == nil {
		q.stats.Delivered.Lines += uint64(b.Lines)
	} else {
		q.stats.Refused += uint64(b.Lines)
	}
	q.mu.Unlock()
	if refusal == nil {
		return
	}
	if held, ok := q.refusedLog.allow(time.Now()); ok {
		q.log.Error("batch refused", "lines", b.Lines, "err", refusal, "similar_not_logged", held)
	}
}

// retry decides on a batch that could not be delivered. It is the oldest: if others
// had to go for want of room it goes too, so that one batch which a server
// always fails on cannot hold up all others for ever.
func (q *Queue) retry(b Batch) bool {
	q.mu.Lock()
	full := len(q.waiting) >= q.opt.MaxBatches || q.bytes+len(b.Data) > q.opt.MaxBytes
	if full {
		q.drop(b)
		q.flight = nil
	} else {
		q.stats.Retries++
	}
	q.mu.Unlock()
	if full {
		q.sayDropped(1, "no room in the queue")
	}
	return !full
}

// delay is how long to wait after err: what the server asked for, within
// bounds, or our own back-off.
func (q *Queue) delay(err error, wait time.Duration) time.Duration {
	var asked *retryAfter
	if errors.As(err, &asked) && asked.wait > 0 {
		return min(asked.wait, 5*q.opt.RetryMax)
	}
	return jittered(wait)
}

// pause waits for d; false if ctx ended. A queue that is being closed has no time
// for long waits.
func (q *Queue) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	case <-q.ending:
	}
	t.Reset(min(d, closeGrace))
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
