package sink

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// batchBytes is the largest batch: what a server refuses or loses at once.
const batchBytes = 1 << 20

// Fanout encodes once and hands the lines to every output. None of its outputs can
// hold up another, nor the caller. It is safe for concurrent use.
type Fanout struct {
	enc        *Encoder
	outputs    []Output
	llama, raw []Output // of outputs, those that have windows in that schema

	mu  sync.Mutex // protects the fields below
	buf []byte     // of the last encoding: the next is likely to be of that size
}

// NewFanout joins an encoder and outputs, which it owns from then on.
func NewFanout(enc *Encoder, outputs ...Output) *Fanout {
	f := &Fanout{enc: enc, outputs: outputs}
	f.llama, f.raw = bySchema(outputs)
	return f
}

// Window hands the lines of w to all outputs. The error is about lines that were
// withheld; all others are on their way. w is not used after the return.
func (f *Fanout) Window(w *probe.Window) error {
	var errs []error
	for paths := range slices.Chunk(w.Paths, pathsAtOnce) {
		part := probe.Window{Start: w.Start, End: w.End, Paths: paths}
		errs = append(errs,
			f.send(f.llama, func(dst []byte) ([]byte, int, error) { return f.enc.Window(dst, &part) }),
			f.send(f.raw, func(dst []byte) ([]byte, int, error) { return f.enc.Raw(dst, &part) }))
	}
	return errors.Join(errs...)
}

// pathsAtOnce bounds what is encoded before it is handed on: of very many paths the lines
// would be as large as all that is known of them.
const pathsAtOnce = 1000

// Agent hands a llama_agent line to all outputs.
func (f *Fanout) Agent(s *AgentStats) error {
	return f.send(f.outputs, func(dst []byte) ([]byte, int, error) { return f.enc.Agent(dst, s) })
}

// Points hands points to all outputs, whatever their schema.
func (f *Fanout) Points(points []Point) error {
	return f.send(f.outputs, func(dst []byte) ([]byte, int, error) { return f.enc.Points(dst, points) })
}

func (f *Fanout) send(to []Output, encode func([]byte) ([]byte, int, error)) error {
	if len(to) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out, _, err := encode(f.buf[:0])
	f.buf = out
	for _, b := range split(out, batchBytes, len(out)) {
		b.Data = bytes.Clone(b.Data) // outputs keep it, and each batch is freed on its own
		for _, o := range to {
			o.Enqueue(b)
		}
	}
	return err
}

// Encoder returns the encoder, for its counters.
func (f *Fanout) Encoder() *Encoder { return f.enc }

// Outputs returns the outputs, for their names and counters.
func (f *Fanout) Outputs() []Output { return f.outputs }

// Reopen opens anew what can be opened anew.
func (f *Fanout) Reopen() error {
	var errs []error
	for _, o := range f.outputs {
		if r, ok := o.(Reopener); ok {
			errs = append(errs, r.Reopen())
		}
	}
	return errors.Join(errs...)
}

// Close closes all outputs at once, so that each has the whole time until ctx ends.
func (f *Fanout) Close(ctx context.Context) error {
	errs := make([]error, len(f.outputs))
	var wg sync.WaitGroup
	for i, o := range f.outputs {
		wg.Go(func() { errs[i] = o.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
