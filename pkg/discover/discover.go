// Package discover keeps lists of targets that are elsewhere, behind a URL or in DNS: what each said
// last, in memory, and on disk what was last taken of it. A list that cannot be had stays as it was.
package discover

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

// MaxBytes is the size of a list, unpacked, at most.
const MaxBytes = 8 << 20

// fetchTime bounds one attempt.
const fetchTime = 30 * time.Second

// Source is one list elsewhere.
type Source struct {
	Name     string        // of all sources, this one: the URL, or the name in DNS
	Interval time.Duration // between two looks at it
	URL      string        // "": it is in DNS
	CA       string        // file of authorities, in PEM; "": those of the system
	Token    string        // for Authorization: Bearer; "": none
}

// State is what is known of a source.
type State struct {
	Good  time.Time // when it last answered as it should; zero: never
	Stale bool      // that was more than three intervals ago
	Fault string    // why the last attempt came to nothing; "": it did not
}

// Options are for [Lists].
type Options struct {
	Check    func(name string, data []byte) error // tells whether an answer is a list at all
	Changed  func()                               // a source says something new; must not wait
	Resolver *net.Resolver                        // nil: the system's
	Log      *slog.Logger
}

// Lists follows sources. A nil one follows none.
type Lists struct {
	options Options

	mu      sync.Mutex // protects the fields below
	dir     string     // of the copies; "": there are none
	follows map[string]*follower
}

// New returns Lists of no source.
func New(o Options) *Lists { return &Lists{options: o, follows: map[string]*follower{}} }

// Use makes these the sources. One that stays goes on undisturbed. Copies are in dir, "" for none.
func (l *Lists) Use(dir string, sources []Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := make(map[string]*follower, len(sources))
	for _, s := range sources {
		f := l.follows[s.Name]
		if f == nil || f.source != s || l.dir != dir {
			was := f
			f = &follower{source: s, options: &l.options, dir: dir}
			if f.begin(was); was != nil {
				was.stop()
			}
		}
		next[s.Name] = f
		delete(l.follows, s.Name)
	}
	for _, f := range l.follows {
		f.stop()
	}
	l.dir, l.follows = dir, next
}

// Close ends all attempts.
func (l *Lists) Close() { l.Use("", nil) }

// Contents returns what a source said last, or else the copy of it in dir; nil if there is neither.
func (l *Lists) Contents(dir, name string) []byte {
	l.mu.Lock()
	f := l.follows[name]
	l.mu.Unlock()
	if f != nil {
		if data := f.contents(); data != nil {
			return data
		}
	}
	c, err := readCopy(dir, name)
	if err != nil {
		l.options.Log.Error("copy of a list not to be had", "list", name, "error", err)
	}
	return c.data
}

// Taken tells that what a source said is in force: a copy of it is kept.
func (l *Lists) Taken(name string, data []byte) {
	l.mu.Lock()
	f := l.follows[name]
	l.mu.Unlock()
	if f != nil {
		f.taken(data)
	}
}

// State returns what is known of a source.
func (l *Lists) State(name string) (State, bool) {
	if l == nil {
		return State{}, false
	}
	l.mu.Lock()
	f := l.follows[name]
	l.mu.Unlock()
	if f == nil {
		return State{}, false
	}
	return f.state(time.Now()), true
}

// Once asks a source now, and keeps nothing.
func Once(ctx context.Context, s Source, o Options) ([]byte, error) {
	f := &follower{source: s, options: &o}
	a, err := f.ask(ctx, "", "")
	if err != nil {
		return nil, err
	}
	return a.data, o.Check(s.Name, a.data)
}

// contents is what was said last; nil: nothing yet.
func (f *follower) contents() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said.data
}

func (f *follower) taken(data []byte) {
	f.mu.Lock()
	c, kept := f.said, f.kept
	f.mu.Unlock()
	if f.dir == "" || c.data == nil || kept || !bytes.Equal(c.data, data) {
		return
	}
	if err := writeCopy(f.dir, f.source.Name, c); err != nil {
		f.options.Log.Error("copy of a list not kept", "list", f.source.Name, "error", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = bytes.Equal(f.said.data, c.data)
}

func (f *follower) state(now time.Time) State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return State{Good: f.said.good, Fault: f.fault, Stale: !f.said.good.IsZero() && now.Sub(f.said.good) > 3*f.source.Interval}
}
