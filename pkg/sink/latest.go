package sink

import (
	"sync/atomic"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// maxLatest bounds the paths that a [Latest] keeps.
const maxLatest = 1 << 16

// Latest keeps the last complete window in the form in which the API gives it out.
// It is safe for concurrent use.
type Latest struct {
	host     probe.Host
	snapshot atomic.Pointer[snapshot]
	cut      atomic.Uint64
}

// NewLatest returns an empty store for windows measured by host.
func NewLatest(host probe.Host) *Latest { return &Latest{host: host} }

// Set replaces the window kept. w is not used after the return.
func (l *Latest) Set(w *probe.Window) {
	paths := w.Paths
	if len(paths) > maxLatest {
		l.cut.Add(uint64(len(paths) - maxLatest))
		paths = paths[:maxLatest]
	}
	points := make([]Point, 0, len(paths))
	for i := range paths {
		if p, ok := rawPoint(&l.host, &paths[i], w.End); ok {
			points = append(points, p)
		}
	}
	l.snapshot.Store(newSnapshot(w.End, points))
}

// End returns the end of the window kept; ok is false before the first.
func (l *Latest) End() (end time.Time, ok bool) {
	s := l.snapshot.Load()
	if s == nil {
		return time.Time{}, false
	}
	return s.end, true
}

// Cut returns how many paths found no room in the store so far.
func (l *Latest) Cut() uint64 { return l.cut.Load() }
