package sink

import (
	"context"
	"fmt"
	"io"
)

// Stream writes to an io.Writer, such as standard output.
type Stream struct {
	name string
	w    io.Writer
	rest []byte // what a failed write left of a batch: it goes out before all else
	of   *byte  // the first octet of that batch
}

// NewStream returns a [Writer] to w, which it does not close.
func NewStream(name string, w io.Writer) *Stream { return &Stream{name: name, w: w} }

// Name names the stream.
func (s *Stream) Name() string { return s.name }

// Write writes b. After a failure in the middle of it the rest goes out first,
// whether or not b is tried again, so that a reader never sees half a line
// followed by another.
func (s *Stream) Write(_ context.Context, b Batch) error {
	again := s.of == &b.Data[0]
	if len(s.rest) > 0 {
		if err := s.put(s.rest); err != nil {
			return err
		}
		if again {
			s.of = nil
			return nil
		}
	}
	s.of = &b.Data[0]
	if err := s.put(b.Data); err != nil {
		return err
	}
	s.of = nil
	return nil
}

func (s *Stream) put(data []byte) error {
	n, err := s.w.Write(data)
	if err == nil {
		s.rest = nil
		return nil
	}
	if n > 0 || len(s.rest) > 0 {
		s.rest = data[n:]
	}
	return fmt.Errorf("write to %s: %w", s.name, err)
}

// Close does nothing: the stream is its opener's.
func (s *Stream) Close() error { return nil }
