//go:build linux

package main

import (
	"fmt"
	"maps"
	"sync"
	"time"
)

// tally collects what all agents tell, from their goroutines.
type tally struct {
	mu    sync.Mutex // protects the fields below
	state state
	err   error // the first line that could not be read
}

// state is what has been told so far.
type state struct {
	last  map[path]line   // the newest window of each path
	total map[path]counts // since the round began
	worst string          // the line with the most loss, as it was written
	lost  int64           // its loss
}

func newTally() *tally {
	t := &tally{state: state{last: map[path]line{}}}
	t.begin()
	return t
}

// begin starts a round: totals are counted anew.
func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.total, t.state.worst, t.state.lost = map[path]counts{}, "", 0
}

// take adds one line of an agent's output.
func (t *tally) take(text []byte) {
	l, ok, err := decode(text)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("read %q: %w", text, err)
	}
	if !ok {
		return
	}
	s := &t.state
	sum := s.total[l.path]
	sum.add(l.counts)
	s.total[l.path], s.last[l.path] = sum, l
	if l.lost > s.lost {
		s.worst, s.lost = string(text), l.lost
	}
}

// now returns a copy of the state.
func (t *tally) now() (state, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state
	s.last, s.total = maps.Clone(s.last), maps.Clone(s.total)
	return s, t.err
}

// complete says whether a window that ends at or after the time has been told of
// every path: then all that was sent before is decided.
func (s *state) complete(paths []path, at time.Time) bool {
	for _, p := range paths {
		if l, ok := s.last[p]; !ok || l.end.Before(at) {
			return false
		}
	}
	return true
}

// sum is the total over all paths.
func (s *state) sum() (c counts) {
	for _, t := range s.total {
		c.add(t)
	}
	return c
}
