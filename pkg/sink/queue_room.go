package sink

import "time"

// makeRoom drops the oldest batches beyond what may be kept.
func (q *Queue) makeRoom(o *QueueOptions) {
	q.expire(time.Now())
	q.dropWhile(func(b *backlog) *entry {
		if q.folder != nil && b.disk > o.Spool.MaxBytes {
			return b.oldest(inFile)
		}
		return nil
	})
	overMemory := func(b *backlog) bool { return b.unfile > o.MaxBatches || b.memory > int64(o.MaxBytes) }
	crowded := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return overMemory(&q.backlog) && q.folder != nil
	}
	for range maxTrade { // the disk is full: what is oldest there makes room
		if !crowded() {
			break
		}
		q.tradeOldest()
	}
	q.dropWhile(func(b *backlog) *entry {
		if overMemory(b) {
			return b.oldest(inMemory)
		}
		return nil
	})
}

// maxTrade bounds how many batches on a full disk are given up for one: another
// program may take the room at once.
const maxTrade = 4

// tradeOldest gives up the oldest batch on disk for what is in memory only.
func (q *Queue) tradeOldest() {
	traded := false
	q.dropWhile(func(b *backlog) *entry {
		if traded {
			return nil
		}
		traded = true
		return b.oldest(inFile)
	})
	if err := q.saveAll(nil); err != nil {
		q.saySpool("batches are kept in memory", err)
	}
}

// expire drops what is older than the spool keeps.
func (q *Queue) expire(now time.Time) {
	q.mu.Lock()
	old := q.opt.Spool.Path != "" && len(q.backlog.list) > 0 && now.Sub(q.backlog.list[0].at) > q.opt.Spool.MaxAge
	q.mu.Unlock()
	if !old {
		return
	}
	q.drop(DropAge, func(b *backlog) *entry {
		e := b.oldest(func(*entry) bool { return true })
		if e == nil || now.Sub(e.at) <= q.opt.Spool.MaxAge {
			return nil
		}
		return e
	})
}

func (q *Queue) dropWhile(next func(*backlog) *entry) { q.drop(DropFull, next) }

// drop gives up the entries that next chooses, with the lock held, until it returns
// nil.
func (q *Queue) drop(why DropReason, next func(*backlog) *entry) {
	var files []string
	dropped := 0
	q.mu.Lock()
	for e := next(&q.backlog); e != nil; e = next(&q.backlog) {
		q.backlog.remove(e)
		q.stats.Dropped[why].add(e.lines)
		dropped++
		if e.file != "" {
			files = append(files, e.file)
		}
	}
	q.mu.Unlock()
	for _, file := range files {
		q.removeFile(file)
	}
	if dropped > 0 {
		q.sayDropped(dropped, why)
	}
}

// removeFile deletes a file that is no longer needed. One that stays would be
// delivered again by the next process: the same points.
func (q *Queue) removeFile(file string) {
	if err := q.folder.remove(file); err != nil {
		q.saySpool("a file stays that should go", err)
	}
}
