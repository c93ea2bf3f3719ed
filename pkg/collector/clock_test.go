package collector

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// fakeClock is moved by hand.
type fakeClock struct{ wall, mono int64 }

func (c *fakeClock) Read() (wall, mono int64) { return c.wall, c.mono }
func (c *fakeClock) SleepUntil(int64)         {}
func (c *fakeClock) Close() error             { return nil }
func (c *fakeClock) pass(d time.Duration)     { c.wall += int64(d); c.mono += int64(d) }

func TestOffsetFindsSteps(t *testing.T) {
	c := &fakeClock{wall: 1e18, mono: 5e9}
	var o offset
	o.sample(c)
	c.pass(time.Second)
	c.wall += 400_000 // slewed by 400 ppm
	_, _, step := o.sample(c)
	require.Zero(t, step)
	before := c.mono
	c.pass(time.Millisecond)
	c.wall -= int64(time.Hour)
	_, mono, step := o.sample(c)
	require.EqualValues(t, -time.Hour, step)
	require.Equal(t, mono, o.mono(c.wall), "stamps after the step are converted by the new offset")
	require.True(t, o.stepWithin(before-10, before+10), "alive when it may have happened")
	require.True(t, o.stepWithin(before-1e9, mono+1e9))
	require.False(t, o.stepWithin(mono+1, mono+100))
	require.False(t, o.stepWithin(before-100, before-1))
}

// pairsClock returns what was prepared: pairs of readings, of which some were interrupted.
type pairsClock struct {
	fakeClock
	between []time.Duration // the readings of the next pairs
}

func (c *pairsClock) Read() (wall, mono int64) {
	c.pass(50 * time.Nanosecond)
	wall = c.wall
	if len(c.between) > 0 {
		c.pass(c.between[0])
		c.between = c.between[1:]
	}
	return wall, c.mono
}

// An interruption between the two readings, as another program or a hypervisor makes it, is neither a step, at
// that time or the next, nor in what stamps are converted by.
func TestOffsetOutlivesInterruptions(t *testing.T) {
	for _, between := range [][]time.Duration{
		{60 * time.Microsecond},
		{30 * time.Millisecond},
		{80 * time.Microsecond, 50 * time.Microsecond},
	} {
		c := &pairsClock{fakeClock: fakeClock{wall: 1e18, mono: 5e9}}
		var o offset
		o.sample(c)
		right := o.wallMinusMono
		for range 3 {
			c.pass(100 * time.Millisecond)
			c.between = between
			_, _, step := o.sample(c)
			require.Zero(t, step)
			require.Equal(t, right, o.wallMinusMono)
		}
	}
}

func TestWindowsAreAlignedAndLabelsUniqueAcrossSteps(t *testing.T) {
	start := time.Date(2026, 11, 23, 10, 0, 3, 500, time.UTC)
	c := &fakeClock{wall: start.UnixNano(), mono: 77e9}
	l := &loop{clock: c, reports: make(chan event, 100)}
	l.spans.length = 10 * time.Second
	wall, mono, _ := l.offset.sample(c)
	l.spans.begin(wall, mono)
	var labels []time.Time
	last := l.spans.open().num
	note := func() {
		l.sampleClock()
		for _, sp := range l.spans.all {
			if sp.num == last && sp.endMono <= c.mono {
				labels = append(labels, sp.label)
				last++
			}
		}
	}
	run := func(d time.Duration) {
		for range int(d / (500 * time.Millisecond)) {
			c.pass(500 * time.Millisecond)
			note()
		}
	}
	run(30 * time.Second)
	require.Equal(t, start.Truncate(10*time.Second).Add(10*time.Second), labels[0].UTC())
	c.wall -= int64(20 * time.Second)
	note()
	run(40 * time.Second)
	c.wall += int64(time.Hour)
	note()
	run(30 * time.Second)
	seen := map[time.Time]bool{}
	for _, at := range labels {
		require.False(t, seen[at], "%v twice", at)
		seen[at] = true
	}
	require.GreaterOrEqual(t, len(labels), 10)
	// Whole windows before the step back are aligned, those after it by a nanosecond off.
	require.Zero(t, labels[1].Nanosecond())
	require.Equal(t, 1, labels[5].Nanosecond())
	require.EqualValues(t, 2, l.stats[countClockSteps].Load())
}

func TestRTTIsLeftOutAcrossAClockStep(t *testing.T) {
	l, f := testFlow(8)
	c := l.clock.(*fakeClock)
	c.wall, c.mono = 1e18, 1
	l.offset.sample(c)
	for i := range 3 {
		s := f.testSend()
		c.pass(time.Duration(s.sent - c.mono))
		l.offset.sample(c)
		c.pass(100 * time.Microsecond)
		if i == 1 {
			c.wall += int64(time.Minute)
		}
		l.offset.sample(c)
		s.state, s.t1, s.t4, s.got = slotAnswered, s.sent, s.sent+50_000, c.mono
	}
	l.settle(f, maxMono)
	w := f.path.window(0)
	require.EqualValues(t, 3, w.flows[0].received)
	rtt := w.rtts.of(0, &probe.Hist{})
	require.EqualValues(t, 2, rtt.Count())
	m := rtt.Quantiles(1)
	require.InEpsilon(t, 50_000, m[0], 0.01)
}
