package collector

import (
	"log/slog"
	"math/bits"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A governor slows probing down before it harms this host: when the process takes
// more of the CPU than it may, or the host has no buffers for what is sent. Then
// flows send every second probe of theirs, every fourth and so on, but at least one
// a minute; the others are not_sent, so that it shows.
type governor struct {
	most  float64      // CPU seconds a second; 0: never slows down
	usage func() int64 // CPU time of this process, ns
	floor uint8        // the highest level
	log   *slog.Logger

	level    uint8 // 2^level is the factor
	looked   int64 // monotonic ns
	used     int64 // CPU time then, ns
	sent     int   // since then
	unsent   int   // since then, for want of buffers
	calm     int64 // monotonic ns: no reason to slow down since
	patience int64 // ns: how long it has to be calm before the rate is doubled
	raised   bool  // the last change was a higher rate
	logged   int64 // monotonic ns
	factor   atomic.Uint64
}

const (
	lookEvery    = 5 * time.Second
	logSlowEvery = time.Minute
	slowest      = time.Minute // between two probes of a flow
	// The rate rises again after that; each time it proves too much, after twice that.
	patienceLeast = 30 * time.Second
	patienceMost  = 10 * time.Minute
)

func newGovernor(most float64, interval time.Duration, log *slog.Logger) *governor {
	g := &governor{most: most, usage: cpuTime, log: log, patience: int64(patienceLeast)}
	if n := uint64(slowest / interval); n > 1 {
		g.floor = uint8(bits.Len64(n) - 1)
	}
	g.factor.Store(1)
	return g
}

func cpuTime() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// holds says whether a flow is to leave out its probe of that cycle. Flows differ, so
// that the rest leaves evenly.
func (g *governor) holds(f *flow, cycle int64) bool {
	return (cycle+int64(f.index))&(1<<g.level-1) != 0
}

// look judges the time since the last look, once in a while.
func (g *governor) look(now int64) {
	if g.most == 0 || now-g.looked < int64(lookEvery) {
		return
	}
	used := g.usage()
	elapsed, first := now-g.looked, g.looked == 0
	share := float64(used-g.used) / float64(elapsed)
	// A buffer that is full once in a while is told of by not_sent alone.
	full := g.unsent >= 10 && g.unsent*10 >= g.sent+g.unsent
	g.looked, g.used, g.sent, g.unsent = now, used, 0, 0
	switch {
	case first:
		g.calm = now
	case share > g.most:
		g.slower(now, "cpu", share)
	case full:
		g.slower(now, "buffers", share)
	case share > 0.8*g.most:
		g.calm = now
	case now-g.calm >= g.patience:
		g.faster(now)
	}
}

func (g *governor) slower(now int64, why string, share float64) {
	if g.raised {
		g.patience = min(2*g.patience, int64(patienceMost))
	}
	g.calm, g.raised = now, false
	g.set(min(g.level+1, g.floor))
	if g.logged == 0 || now-g.logged >= int64(logSlowEvery) {
		g.logged = now
		g.log.Warn("probing slows down to spare this host", "reason", why, "cpu", share, "max_cpu", g.most, "sent_one_of", g.factor.Load())
	}
}

func (g *governor) faster(now int64) {
	g.calm = now
	if g.raised = g.level > 0; !g.raised {
		g.patience = int64(patienceLeast)
		return
	}
	if g.set(g.level - 1); g.level == 0 {
		g.logged = 0
		g.log.Info("probing at its full rate again")
	}
}

func (g *governor) set(level uint8) {
	g.level = level
	g.factor.Store(1 << level)
}
