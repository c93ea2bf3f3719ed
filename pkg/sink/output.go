package sink

import (
	"bytes"
	"context"
	"time"
)

// Batch is whole lines of line protocol. It is shared between outputs and never
// written to.
type Batch struct {
	Data  []byte
	Gzip  []byte // the same, compressed; nil: not at hand
	Lines int
	ID    uint64 // tells a batch that is tried again from others; 0: it is none that waits
}

// Output takes batches without ever blocking and delivers them in its own time.
type Output interface {
	Name() string // for logs and counters; holds no secret
	Enqueue(Batch)
	Stats() Stats
	// Close delivers what is queued until ctx ends. What is left then stays in the
	// spool; without one it is dropped, counted, and named in the error.
	Close(ctx context.Context) error
}

// Reopener is an [Output] that can open its destination anew (log rotation,
// certificates).
type Reopener interface{ Reopen() error }

// Writer delivers one batch, whose octets are the caller's again after the return.
// An error says by a [Failure] in it what to do; after any other the batch is tried
// again. It is called by one goroutine at a time.
type Writer interface {
	Name() string
	Write(ctx context.Context, b Batch) error
	Close() error
}

// Verdict is what to do about a batch that was not delivered.
type Verdict int

// The verdicts.
const (
	Retry  Verdict = iota // soon, again and again
	Hold                  // somebody has to mend something first: seldom
	Refuse                // never the same again: some of its lines are wrong
)

// Failure is an error of a [Writer] that says what to do.
type Failure struct {
	Class ErrorClass
	Do    Verdict
	Wait  time.Duration // the destination asked for it; 0: it did not
	Bad   []BadLine     // of Refuse: lines that the destination named
	All   bool          // of Refuse: it says that it took none of the lines
	Sure  bool          // of Refuse: it did speak of lines, or of their number
	Took  bool          // of Refuse: it has all lines that are not in Bad
	Err   error
}

// BadLine is a line that a destination will not have.
type BadLine struct {
	Line int // index in the batch
	Why  string
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// split cuts lines into batches of at most size octets and most lines, at the ends
// of lines. A destination refuses or takes a batch as a whole, and limits its size.
func split(data []byte, size, most int) []Batch {
	var out []Batch
	for len(data) > 0 {
		part := data[:cut(data, size, most)]
		out = append(out, Batch{Data: part[:len(part):len(part)], Lines: bytes.Count(part, []byte{'\n'})})
		data = data[len(part):]
	}
	return out
}

// cut is how many octets of data fit; at least one line.
func cut(data []byte, size, most int) int {
	end := 0
	for range most {
		n := bytes.IndexByte(data[end:], '\n') + 1
		if n == 0 { // the last line has no end
			n = len(data) - end
		}
		if end > 0 && end+n > size {
			break
		}
		if end += n; end == len(data) {
			break
		}
	}
	return end
}
