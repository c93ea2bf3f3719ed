package sink

import (
	"slices"
	"time"
)

// entry is one batch that waits: in a file of the spool, or in memory.
type entry struct {
	id    uint64 // of this process
	order uint64 // of acceptance; later ones have higher numbers
	at    time.Time
	due   time.Time // not to be sent before that
	lines int
	size  int64  // octets: of its blocks on disk, of its body in memory
	file  string // "": in memory
	body  []byte // of one that is in memory
	gz    bool   // body is compressed, as files are

	busy bool // it is being delivered
	gone bool // it is no longer in the backlog

	failed bool      // the last attempt of all was this one, and failed
	tries  int       // that failed while others were taken: above 0 it is a suspect
	fails  int       // attempts of a suspect that failed
	next   time.Time // of a suspect: not to be tried before that
}

func (e *entry) suspect() bool { return e.tries > 0 }

// backlog is the entries in the order of their acceptance.
type backlog struct {
	list   []*entry
	id     uint64 // of the last one
	order  uint64 // of the last one
	lines  uint64
	disk   int64 // octets in files
	memory int64 // octets in memory
	unfile int   // entries in memory
}

func (b *backlog) push(e *entry) {
	b.order++
	e.order = b.order
	b.list = append(b.list, e)
	b.count(e, 1)
}

// pushFront puts entries that are older than all others before them.
func (b *backlog) pushFront(old []*entry) {
	all := append(old, b.list...)
	for i, e := range all {
		e.order = uint64(i + 1)
	}
	b.list, b.order = all, uint64(len(all))
	for _, e := range old {
		b.count(e, 1)
	}
}

func (b *backlog) remove(e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	b.count(e, -1)
	if b.list[0] == e {
		b.list[0] = nil // the array stays, what it points to must not
		b.list = b.list[1:]
		return
	}
	if i, ok := slices.BinarySearchFunc(b.list, e, func(a, c *entry) int { return int(int64(a.order - c.order)) }); ok {
		b.list = slices.Delete(b.list, i, i+1)
	}
}

// saved notes that e is in a file now.
func (b *backlog) saved(e *entry, file string, size int64) {
	b.count(e, -1)
	e.file, e.body, e.size = file, nil, size
	b.count(e, 1)
}

func (b *backlog) count(e *entry, sign int) {
	b.lines += uint64(sign * e.lines)
	if e.id == 0 {
		b.id++
		e.id = b.id
	}
	if e.file != "" {
		b.disk += int64(sign) * e.size
		return
	}
	b.memory += int64(sign) * e.size
	b.unfile += sign
}

// oldest returns the oldest entry that is of the kind and not being delivered.
func (b *backlog) oldest(kind func(*entry) bool) *entry {
	for _, e := range b.list {
		if !e.busy && kind(e) {
			return e
		}
	}
	return nil
}

func inFile(e *entry) bool   { return e.file != "" }
func inMemory(e *entry) bool { return e.file == "" }

// first returns the oldest entry that is no suspect, and last the newest that is
// due by now.
func (b *backlog) first() *entry {
	for _, e := range b.list {
		if !e.suspect() {
			return e
		}
	}
	return nil
}

func (b *backlog) last(now time.Time) *entry {
	for _, e := range slices.Backward(b.list) {
		if !e.suspect() && !e.due.After(now) {
			return e
		}
	}
	return nil
}
