package collector

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

// A clock reads CLOCK_REALTIME and CLOCK_MONOTONIC as one. Tests inject steps.
type clock interface {
	// Read returns both clocks in ns, taken together.
	Read() (wall, mono int64)
	// SleepUntil sleeps until the monotonic clock reads mono.
	SleepUntil(mono int64)
	Close() error
}

// systemClock anchors Go's monotonic readings, which have no stated zero, to
// CLOCK_MONOTONIC, so that reading costs a vDSO call and sleeping is absolute.
type systemClock struct {
	base     time.Time
	baseMono int64
	timer    *sock.Timer
}

func newSystemClock() (*systemClock, error) {
	var before, after unix.Timespec
	var base time.Time
	for range 100 { // a preemption in between would stay as an error
		err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		base = time.Now()
		if err = errors.Join(err, unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)); err != nil {
			return nil, fmt.Errorf("read monotonic clock: %w", err)
		}
		if after.Nano()-before.Nano() < 5_000 {
			break
		}
	}
	timer, err := sock.NewTimer()
	if err != nil {
		return nil, err
	}
	return &systemClock{base: base, baseMono: before.Nano() + (after.Nano()-before.Nano())/2, timer: timer}, nil
}

func (c *systemClock) Read() (wall, mono int64) {
	now := time.Now()
	return now.UnixNano(), c.baseMono + int64(now.Sub(c.base))
}

func (c *systemClock) SleepUntil(mono int64) {
	if c.timer.SleepUntil(mono) != nil {
		time.Sleep(time.Millisecond) // rather late than in a spin
	}
}

func (c *systemClock) Close() error { return c.timer.Close() }

// An offset converts wall-clock stamps to the monotonic clock, and finds steps
// of the wall clock: it is sampled around each batch of stamps.
type offset struct {
	wallMinusMono int64
	at            int64 // monotonic, of the last sample
	steps         [4]stepWindow
	count         uint64
}

// A stepWindow is the time between the two samples that enclose a step.
type stepWindow struct{ from, to int64 }

// Slewing (adjtime, at most 500 ppm, and a tick changed within reason) moves the
// offset by less than a thousandth of the time passed; two readings of the vDSO
// are not taken at the same instant.
func stepThreshold(elapsed int64) int64 { return 20_000 + elapsed/1000 }

// sample reads the clocks and reports by how many ns the wall clock stepped since
// the last sample; 0 if it did not.
func (o *offset) sample(c clock) (wall, mono, step int64) {
	wall, mono = c.Read()
	if d := wall - mono - o.wallMinusMono; o.at == 0 || max(d, -d) > pairError {
		wall, mono = confirmed(c, wall, mono)
	}
	d := wall - mono - o.wallMinusMono
	if o.at != 0 && max(d, -d) > stepThreshold(mono-o.at) {
		o.steps[o.count%uint64(len(o.steps))] = stepWindow{from: o.at, to: mono}
		o.count++
		step = d
	}
	o.wallMinusMono, o.at = wall-mono, mono
	return wall, mono, step
}

// Two readings that nothing came between are that close, in ns.
const pairError = 1000

// confirmed reads again until two pairs agree, a few times: an interruption between the two readings of a pair
// looks like a step of the clock or like slewing, and stamps would be converted by it. A step stays.
func confirmed(c clock, wall, mono int64) (int64, int64) {
	for range 5 {
		was := wall - mono
		wall, mono = c.Read()
		if d := wall - mono - was; max(d, -d) <= pairError {
			break
		}
	}
	return wall, mono
}

// mono converts a wall-clock stamp that was read in the batch at hand.
func (o *offset) mono(wall int64) int64 { return wall - o.wallMinusMono }

// stepWithin says whether the wall clock stepped between two monotonic times.
func (o *offset) stepWithin(from, to int64) bool {
	for i := range min(o.count, uint64(len(o.steps))) {
		if s := o.steps[i]; from <= s.to && to >= s.from {
			return true
		}
	}
	return false
}
