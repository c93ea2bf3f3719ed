package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// Batch is whole lines of line protocol. It is shared between outputs and never
// written to.
type Batch struct {
	Data  []byte
	Lines int
}

// Output takes batches without ever blocking and delivers them in its own time.
type Output interface {
	Name() string // for logs and counters; holds no secret
	Enqueue(Batch)
	Stats() Stats
	// Close delivers what is queued until ctx ends; what is left then is dropped,
	// counted, and named in the error.
	Close(ctx context.Context) error
}

// Reopener is an [Output] that can open its destination anew (log rotation).
type Reopener interface{ Reopen() error }

// Writer delivers one batch. An error that wraps [ErrRefused] is final for that
// batch; after any other the same batch is tried again later. It is called by one
// goroutine at a time.
type Writer interface {
	Name() string
	Write(ctx context.Context, b Batch) error
	Close() error
}

// ErrRefused says that the destination answered and will not have the batch, so
// that sending it again would be in vain.
var ErrRefused = errors.New("refused")

// retryAfter is an error of a destination that said when to come back.
type retryAfter struct {
	err  error
	wait time.Duration
}

func (e *retryAfter) Error() string { return fmt.Sprintf("%v (retry after %s)", e.err, e.wait) }
func (e *retryAfter) Unwrap() error { return e.err }

// split cuts lines into batches of at most size octets, at the ends of lines. A
// destination refuses or takes a batch as a whole, and limits its size.
func split(data []byte, size int) []Batch {
	var out []Batch
	for len(data) > 0 {
		end := len(data)
		if end > size {
			end = bytes.LastIndexByte(data[:size], '\n') + 1
			if end == 0 { // a line longer than size goes alone
				end = bytes.IndexByte(data, '\n') + 1
			}
			if end == 0 {
				end = len(data)
			}
		}
		part := data[:end:end]
		out = append(out, Batch{Data: part, Lines: bytes.Count(part, []byte{'\n'})})
		data = data[end:]
	}
	return out
}
