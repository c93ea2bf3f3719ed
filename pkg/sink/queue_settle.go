package sink

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// failAgain and holdAgain are after how long a failure that goes on is logged again.
const (
	failAgain = 10 * time.Minute
	holdAgain = 30 * time.Minute
)

func (q *Queue) countErrors(out outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for class, n := range out.errors {
		q.stats.Errors[class] += n
	}
}

// release gives a batch back that nothing is known of.
func (q *Queue) release(e *entry) {
	q.mu.Lock()
	e.busy = false
	q.mu.Unlock()
}

// taken ends a batch that is settled with the destination. Those on which it failed
// meanwhile are suspects from now on: it was not the destination as a whole.
func (q *Queue) taken(e *entry, out outcome) {
	if len(out.bad) > 0 {
		q.putLinesAside(out.bad)
	}
	now := time.Now()
	q.mu.Lock()
	if !e.gone { // Close has not given it up meanwhile
		q.backlog.remove(e)
		q.stats.Delivered.Batches++
		q.stats.Delivered.Lines += uint64(e.lines - len(out.bad))
		q.stats.Refused += uint64(len(out.bad))
	}
	var poison []*entry
	q.doubtful = slices.DeleteFunc(q.doubtful, func(d *entry) bool {
		if d == e || d.gone {
			return true
		}
		if d.failed {
			d.failed = false
			d.tries++
			d.next = now.Add(q.patience(max(d.tries, d.fails)))
		}
		if d.tries < poisonTries {
			return false
		}
		poison = append(poison, d)
		return true
	})
	file := e.file
	q.mu.Unlock()
	if file != "" {
		q.removeFile(file)
	}
	if q.class != "" {
		q.log.Info("delivering again")
	}
	q.class, q.backoff, q.retryAt, q.last = "", 0, time.Time{}, nil
	for _, d := range poison {
		q.putAside(d, DropPoison, errPoison)
	}
}

var errPoison = errors.New("the destination failed on it every time, and took others meanwhile")

// patience is how long a batch is left alone that failed n times.
func (q *Queue) patience(n int) time.Duration {
	return jittered(min(q.opt.RetryMin<<min(n, 20), q.opt.RetryMax))
}

// postpone notes that a batch is to be tried again, and when.
func (q *Queue) postpone(e *entry, f *Failure) {
	now := time.Now()
	q.mu.Lock()
	o := q.opt
	e.busy = false
	q.stats.Retries++
	if q.closed {
		q.stopping = true
		q.retryAt = now.Add(closeGrace)
	}
	itself := f.Do != Hold && f.Wait == 0 && !o.Ordered && f.Class != ErrorBusy && f.Class != ErrorTLS
	q.doubt(e, itself)
	apart := itself && e.suspect() // others need not wait because of it
	if apart {
		e.fails++
		e.next = now.Add(q.patience(e.fails))
	}
	waiting, others := len(q.backlog.list), q.backlog.first() != nil
	q.mu.Unlock()
	q.last = e
	if !apart || !others {
		q.sayFailure(f, waiting, now)
	}
	if apart {
		return
	}
	q.backoff = min(max(2*q.backoff, o.RetryMin), o.RetryMax)
	wait := jittered(q.backoff)
	switch {
	case f.Do == Hold:
		wait = jittered(o.RetryMax)
	case f.Wait > 0:
		wait = min(f.Wait, 5*o.RetryMax)
	}
	q.retryAt = now.Add(wait)
}

// doubt notes with the lock held that the destination failed on e. If it failed on
// another just before, it may fail on all: that speaks for the other.
func (q *Queue) doubt(e *entry, itself bool) {
	q.doubtful = slices.DeleteFunc(q.doubtful, func(d *entry) bool {
		d.failed = false
		return d.gone || !d.suspect() || d == e
	})
	if e.failed = itself; itself || e.suspect() {
		q.doubtful = append(q.doubtful, e)
	}
}

// sayFailure logs a failure once, and again if it is another or after a while.
func (q *Queue) sayFailure(f *Failure, waiting int, now time.Time) {
	class := f.Class.String()
	if class != q.class {
		q.class, q.failLog.next = class, time.Time{}
		q.failLog.every = failAgain
		if f.Do == Hold {
			q.failLog.every = holdAgain
		}
	}
	held, ok := q.failLog.allow(now)
	switch {
	case !ok:
	case f.Do == Hold:
		q.log.Error("NOTHING IS DELIVERED until this is mended; what is measured is kept", "err", f, "waiting_batches", waiting, "similar_not_logged", held)
	default:
		q.log.Warn("delivery delayed", "err", f, "waiting_batches", waiting, "similar_not_logged", held)
	}
}

// putAside gives up a batch, and keeps its file where a person can look at it.
func (q *Queue) putAside(e *entry, why DropReason, err error) {
	q.mu.Lock()
	gone := e.gone
	if !gone {
		q.backlog.remove(e)
		q.stats.Dropped[why].add(e.lines)
	}
	file := e.file
	q.mu.Unlock()
	if gone {
		return
	}
	if held, ok := q.batchLog.allow(time.Now()); ok {
		q.log.Error("batch put aside", "reason", why, "err", err, "lines", e.lines, "file", file, "similar_not_logged", held)
	}
	if file == "" {
		return
	}
	if err := q.folder.take(filepath.Join(q.folder.path, file), why); err != nil && !errors.Is(err, os.ErrNotExist) {
		q.removeFile(file) // else the next process would meet it again
		q.log.Error("batch not put aside", "err", err, "file", file)
	}
}

// putLinesAside keeps lines that the destination refused, each with the reason.
func (q *Queue) putLinesAside(bad []refused) {
	slices.SortStableFunc(bad, func(a, b refused) int { return cmp.Compare(a.why, b.why) })
	if held, ok := q.asideLog.allow(time.Now()); ok {
		q.log.Error("lines refused", "lines", len(bad), "why", bad[0].why, "first", printable(string(bad[0].text)), "similar_not_logged", held)
	}
	if q.folder == nil {
		return
	}
	for len(bad) > 0 {
		n := 1
		for n < len(bad) && bad[n].why == bad[0].why {
			n++
		}
		var lines [][]byte
		for _, r := range bad[:n] {
			lines = append(lines, r.text)
		}
		if err := q.folder.refuse(time.Now(), lines, bad[0].why); err != nil {
			q.saySpool("refused lines are in the log only", err)
			return
		}
		bad = bad[n:]
	}
}
