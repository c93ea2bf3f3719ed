package sink

import (
	"errors"
	"time"
)

// accepting is the state of the goroutine that accepts batches.
type accepting struct {
	packer packer
	tried  time.Time // when opening the spool was last tried
}

// spoolAgain is how long a spool that could not be opened is left alone.
const spoolAgain = 10 * time.Second

// intake is what was enqueued and is not accepted yet.
type intake struct {
	parts []Batch
	bytes int
	since time.Time // of the first of parts
}

// add takes parts, at the cost of the oldest if there is no room.
func (in *intake) add(parts []Batch, o *QueueOptions, s *Stats) (dropped int) {
	if len(in.parts) == 0 {
		in.since = time.Now()
	}
	for _, b := range parts {
		for len(in.parts) > 0 && (len(in.parts) >= o.MaxBatches || in.bytes+len(b.Data) > o.MaxBytes) {
			s.Dropped[DropIntake].add(in.pop().Lines)
			dropped++
		}
		in.parts = append(in.parts, b)
		in.bytes += len(b.Data)
	}
	return dropped
}

func (in *intake) pop() Batch {
	b := in.parts[0]
	in.parts[0] = Batch{} // the array stays, its memory must not
	in.parts = in.parts[1:]
	in.bytes -= len(b.Data)
	return b
}

// take removes what makes one batch.
func (in *intake) take(o *QueueOptions) (parts []Batch) {
	lines, size := 0, 0
	for len(in.parts) > 0 {
		b := &in.parts[0]
		if len(parts) > 0 && (lines+b.Lines > o.BatchLines || size+len(b.Data) > o.BatchBytes) {
			break
		}
		lines, size = lines+b.Lines, size+len(b.Data)
		parts = append(parts, in.pop())
	}
	return parts
}

// full tells whether there is a whole batch.
func (in *intake) full(o *QueueOptions) bool {
	lines := 0
	for i := range in.parts {
		lines += in.parts[i].Lines
	}
	return lines >= o.BatchLines || in.bytes >= o.BatchBytes
}

// accept turns what is enqueued into batches, until the queue is closed and nothing
// is left.
func (q *Queue) accept() {
	defer func() {
		close(q.accepted)
		signal(q.wake)
	}()
	for {
		q.mu.Lock()
		o, ending := q.opt, q.closed
		var parts []Batch
		wait := time.Duration(-1)
		if in := &q.intake; len(in.parts) > 0 {
			wait = o.BatchAge - time.Since(in.since)
			if ending || wait <= 0 || in.full(&o) {
				parts = in.take(&o)
			}
		}
		q.mu.Unlock()
		switch {
		case parts != nil:
			q.keep(parts, &o)
		case ending:
			q.saveLast(&o)
			return
		default:
			q.awaitMore(wait)
		}
	}
}

// awaitMore waits for news, and for at most d if that is not negative.
func (q *Queue) awaitMore(d time.Duration) {
	var after <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-q.more:
	case <-q.ending:
	case <-after:
	}
}

// keep makes a batch of parts, on disk if that can be.
func (q *Queue) keep(parts []Batch, o *QueueOptions) {
	now := time.Now()
	e := &entry{at: now, due: now.Add(o.Delay)}
	for _, b := range parts {
		e.lines += b.Lines
	}
	e.body, e.gz = q.body(parts, o)
	e.size = int64(len(e.body))
	q.openSpool(o, now)
	if err := q.saveAll(e); err != nil {
		q.saySpool("batches are kept in memory", err)
	}
	q.mu.Lock()
	q.backlog.push(e)
	q.stats.Accepted.add(e.lines)
	q.mu.Unlock()
	q.makeRoom(o)
	signal(q.wake)
}

// saveLast writes to disk what is in memory only: now or never.
func (q *Queue) saveLast(o *QueueOptions) {
	q.mu.Lock()
	unsaved := o.Spool.Path != "" && q.backlog.unfile > 0
	q.mu.Unlock()
	if !unsaved {
		return
	}
	q.tried = time.Time{}
	q.openSpool(o, time.Now())
	if err := q.saveAll(nil); err != nil {
		q.saySpool("batches are kept in memory", err)
	}
}

// body is the parts as they are kept.
func (q *Queue) body(parts []Batch, o *QueueOptions) (body []byte, gz bool) {
	if o.Compress || o.Spool.Path != "" {
		packed, err := q.packer.pack(parts)
		if err == nil {
			return packed, true
		}
		q.log.Error("batch kept as it is", "err", err) // which no writer to memory gives
	}
	if len(parts) == 1 {
		return parts[0].Data, false
	}
	for _, b := range parts {
		body = append(body, b.Data...)
	}
	return body, false
}

// openSpool opens the folder if there should be one and it is not open.
func (q *Queue) openSpool(o *QueueOptions, now time.Time) {
	if o.Spool.Path == "" || q.folder != nil || !q.tried.IsZero() && now.Sub(q.tried) < spoolAgain {
		return
	}
	q.tried = now
	f, found, err := openFolder(o.Spool.Path, q.name, o.Spool.Sync)
	if err != nil {
		q.saySpool("batches are kept in memory", err)
		return
	}
	q.mu.Lock()
	q.folder = f
	q.backlog.pushFront(found)
	for _, e := range found {
		q.stats.Recovered.add(e.lines)
	}
	q.mu.Unlock()
	if len(found) > 0 {
		q.log.Info("found in the spool", "batches", len(found), "since", found[0].at)
	}
	q.makeRoom(o)
	signal(q.wake)
}

// saveAll writes what is in memory to disk, oldest first, and e last. The first that
// fails ends it: the others would fail too.
func (q *Queue) saveAll(e *entry) error {
	if q.folder == nil {
		return nil
	}
	q.mu.Lock()
	var unsaved []*entry
	for _, x := range q.backlog.list {
		if q.backlog.unfile == 0 {
			break
		}
		if x.file == "" {
			unsaved = append(unsaved, x)
		}
	}
	q.mu.Unlock()
	for _, x := range unsaved {
		if err := q.save(x); err != nil {
			return err
		}
	}
	if e == nil || !e.gz {
		return nil
	}
	file, size, err := q.folder.put(e, e.body)
	if err == nil {
		e.file, e.size, e.body = file, size, nil
	}
	return err
}

// save writes an entry of the backlog to disk, while it may be delivered or dropped.
func (q *Queue) save(e *entry) error {
	q.mu.Lock()
	body, skip := e.body, e.gone || e.file != "" || !e.gz
	q.mu.Unlock()
	if skip {
		return nil
	}
	file, size, err := q.folder.put(e, body)
	if err != nil {
		return err
	}
	q.mu.Lock()
	gone := e.gone
	if !gone {
		q.backlog.saved(e, file, size)
	}
	q.mu.Unlock()
	if gone {
		return q.folder.remove(file)
	}
	return nil
}

func (q *Queue) saySpool(what string, err error) {
	if held, ok := q.spoolLog.allow(time.Now()); ok {
		level := q.log.Warn
		if errors.Is(err, errLocked) {
			level = q.log.Error
		}
		level("spool: "+what, "err", err, "similar_not_logged", held)
	}
}
