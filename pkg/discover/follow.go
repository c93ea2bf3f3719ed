package discover

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// A follower asks one source again and again.
type follower struct {
	source  Source
	options *Options
	dir     string
	cancel  context.CancelFunc
	done    chan struct{}

	mu    sync.Mutex // protects the fields below
	said  listCopy
	kept  bool // what was said is on disk
	fault string
}

// listCopy is what a source said, and what a server may be asked by whether that has changed.
type listCopy struct {
	data           []byte // never nil if there is one
	etag, modified string
	good           time.Time // when the source last said so
}

// begin takes over what was known, from the one before or from disk.
func (f *follower) begin(was *follower) {
	if was != nil {
		was.mu.Lock()
		f.said = was.said
		was.mu.Unlock()
	} else if c, err := readCopy(f.dir, f.source.Name); err == nil {
		f.said, f.kept = c, c.data != nil
	} // what is wrong with a copy was said when it was read for its contents
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.done = cancel, make(chan struct{})
	go f.run(ctx)
}

func (f *follower) stop() {
	f.cancel()
	<-f.done
}

// run asks at once, and then at intervals that differ by a fifth, so that a fleet that was started
// together does not ask together; after a failure sooner, first after a second.
func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	again := time.Second
	for {
		wait := f.source.Interval
		if f.attempt(ctx) {
			again = time.Second
		} else {
			wait, again = min(wait, again), min(2*again, wait)
		}
		wait = time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64()))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// attempt asks once, and tells whether the source answered as it should.
func (f *follower) attempt(ctx context.Context) bool {
	f.mu.Lock()
	before, kept := f.said, f.kept
	f.mu.Unlock()
	a, err := f.ask(ctx, before.etag, before.modified)
	if err == nil && !a.same {
		err = f.options.Check(f.source.Name, a.data)
	}
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		f.fail(err)
		return false
	}
	now := time.Now()
	changed := !a.same && (before.data == nil || !bytes.Equal(before.data, a.data))
	f.mu.Lock()
	f.fault, f.said.good = "", now
	if !a.same {
		f.said.etag, f.said.modified = a.etag, a.modified
	}
	if changed {
		f.said.data, f.kept = a.data, false
	}
	f.mu.Unlock()
	if changed {
		f.options.Changed()
	} else if kept {
		_ = os.Chtimes(copyPath(f.dir, f.source.Name), now, now) // else its age is told too high after a restart
	}
	return true
}

// fail says once why nothing new is to be had.
func (f *follower) fail(err error) {
	f.mu.Lock()
	before := f.fault
	f.fault = err.Error()
	f.mu.Unlock()
	if before != err.Error() {
		f.options.Log.Error("list of targets not to be had: it stays as it was", "list", f.source.Name, "error", err)
	}
}

// answer is what a source says now; same: what it said before.
type answer struct {
	data           []byte
	same           bool
	etag, modified string
}

func (f *follower) ask(ctx context.Context, etag, modified string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if f.source.URL == "" {
		return f.lookup(ctx)
	}
	return f.fetch(ctx, etag, modified)
}
