package sink

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Stream writes to an io.Writer, such as standard output.
type Stream struct {
	name string
	w    io.Writer
	rest []byte // what a failed write left of a batch: it goes out before all else
	of   uint64 // that batch; 0: there is none
}

// NewStream returns a [Writer] to w, which it does not close.
func NewStream(name string, w io.Writer) *Stream { return &Stream{name: name, w: w} }

// Name names the stream.
func (s *Stream) Name() string { return s.name }

// Write writes b. After a failure in the middle of it the rest goes out first,
// whether or not b is tried again, so that a reader never sees half a line
// followed by another.
func (s *Stream) Write(_ context.Context, b Batch) error {
	again := s.of != 0 && s.of == b.ID
	if len(s.rest) > 0 {
		if err := s.put(s.rest); err != nil {
			return err
		}
		if again {
			s.of = 0
			return nil
		}
	}
	s.of = b.ID
	if err := s.put(b.Data); err != nil {
		return err
	}
	s.of = 0
	return nil
}

func (s *Stream) put(data []byte) error {
	n, err := s.w.Write(data)
	if err == nil {
		s.rest = nil
		return nil
	}
	if n > 0 || len(s.rest) > 0 {
		s.rest = bytes.Clone(data[n:])
	}
	return fmt.Errorf("write to %s: %w", s.name, err)
}

// Close does nothing: the stream is its opener's.
func (s *Stream) Close() error { return nil }
