package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// outcome is what became of one batch.
type outcome struct {
	err     error     // it was not delivered
	damaged error     // it could not be read
	bad     []refused // lines that the destination will not have; it has all others
	errors  [ErrorClasses]uint64
}

// refused is a line that a destination will not have.
type refused struct {
	text []byte // valid as long as the batch is
	why  string
}

// sieve delivers a batch of which the destination refuses lines: all others reach
// it, some of them more than once, which makes no difference, since the same point
// twice is one point.
type sieve struct {
	w        Writer
	requests int
	taken    bool // any line
	sure     bool // the destination did speak of lines
	outcome
}

const (
	// maxSift bounds the requests for one batch: what is not told apart by then is
	// refused with the lines that are.
	maxSift = 200
	// maxBlind bounds them where nothing was taken and the destination did not speak
	// of lines: it may refuse for another reason.
	maxBlind = 32
)

var errBlind = errors.New("blind")

// deliverBatch hands b to w, and looks for the lines that are refused if some are.
func deliverBatch(ctx context.Context, w Writer, b Batch) outcome {
	s := &sieve{w: w}
	f, err := s.write(ctx, b)
	if f == nil {
		s.err = err
		return s.outcome
	}
	err = s.sift(ctx, b, f)
	switch {
	case errors.Is(err, errBlind) || err == nil && !s.taken && !s.sure:
		// Nothing of it was taken and no line was named: the fault may be elsewhere, and
		// to give up lines for it would lose what is right.
		s.bad, s.err = nil, &Failure{Class: f.Class, Do: Retry, Err: f.Err}
	case err != nil:
		s.bad, s.err = nil, err
	}
	return s.outcome
}

// write returns the refusal of b, or another error.
func (s *sieve) write(ctx context.Context, b Batch) (refusal *Failure, err error) {
	s.requests++
	if err = s.w.Write(ctx, b); err == nil {
		s.taken = true
		return nil, nil
	}
	var f *Failure
	if !errors.As(err, &f) {
		s.errors[classOf(err)]++
		return nil, err
	}
	s.errors[f.Class]++
	if f.Do != Refuse {
		return nil, err
	}
	s.sure = s.sure || f.Sure
	return f, nil
}

// sift finds out which lines of b, which was refused with f, are refused.
func (s *sieve) sift(ctx context.Context, b Batch, f *Failure) error {
	if !s.taken && !s.sure && s.requests >= maxBlind {
		return errBlind
	}
	switch {
	case f.Took:
		return s.without(ctx, b, f)
	case b.Lines <= 1 || f.All || s.requests >= maxSift:
		s.refuse(b.Data, reason(f))
		return nil
	case len(f.Bad) > 0:
		return s.without(ctx, b, f)
	}
	for _, half := range split(b.Data, len(b.Data), (b.Lines+1)/2) {
		again, err := s.write(ctx, half)
		if err == nil && again != nil {
			err = s.sift(ctx, half, again)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// without delivers what is left of b without the lines that were named.
func (s *sieve) without(ctx context.Context, b Batch, f *Failure) error {
	why := make(map[int]string, len(f.Bad))
	for _, bad := range f.Bad {
		why[bad.Line] = bad.Why
	}
	var rest []byte
	lines, i := 0, 0
	for line := range bytes.Lines(b.Data) {
		if reason, bad := why[i]; bad {
			s.refuse(line, reason)
		} else {
			rest = append(rest, line...)
			lines++
		}
		i++
	}
	if f.Took {
		s.taken = true
		return nil
	}
	if lines == 0 {
		return nil
	}
	if lines == b.Lines {
		return fmt.Errorf("refused lines that are not in the batch: %w", f.Err)
	}
	left := Batch{Data: rest, Lines: lines}
	again, err := s.write(ctx, left)
	if err == nil && again != nil {
		err = s.sift(ctx, left, again)
	}
	return err
}

// reason is why the only line of a batch was refused.
func reason(f *Failure) string {
	if len(f.Bad) == 1 {
		return f.Bad[0].Why
	}
	return f.Err.Error()
}

func (s *sieve) refuse(data []byte, why string) {
	for line := range bytes.Lines(data) {
		s.bad = append(s.bad, refused{line, printable(why)})
	}
}
