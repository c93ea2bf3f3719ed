package collector

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testSchedule(flows int, interval time.Duration) *schedule {
	s := &schedule{interval: int64(interval)}
	fs := make([]*flow, flows)
	for i := range fs {
		fs[i] = &flow{index: uint16(i)}
	}
	s.restart(fs, 1e9)
	return s
}

func TestScheduleGivesEachFlowItsOwnPhase(t *testing.T) {
	s := testSchedule(1000, time.Second)
	for cycle := range int64(2) {
		for i := range int64(1000) {
			due := s.due()
			require.EqualValues(t, 1e9+float64(cycle*1e9+i*1e6), due)
			f, at := s.next(due)
			require.EqualValues(t, i, f.index)
			require.Equal(t, due, at)
		}
	}
}

func TestScheduleSkipsWhatWasMissedByMoreThanAnInterval(t *testing.T) {
	s := testSchedule(4, 100*time.Millisecond)
	s.next(s.due())
	require.Zero(t, s.skip(s.due()+int64(100*time.Millisecond)))
	require.EqualValues(t, 20, s.skip(s.due()+int64(2050*time.Millisecond)))
	require.EqualValues(t, 1, s.at, "the same flow's turn")
	require.EqualValues(t, 1e9+2000e6+25e6, s.due())
}

// After a stall what is due leaves at most at twice the rate, and never as one.
func TestScheduleCatchesUpWithoutABurst(t *testing.T) {
	s := testSchedule(1000, time.Second) // one a millisecond
	now := s.due() + int64(900*time.Millisecond)
	behind := func(now int64) bool { return s.due() <= now }
	start, sent := now, 0
	for behind(now) {
		for s.ready() <= now {
			s.next(now)
			sent++
		}
		elapsed := now - start
		require.LessOrEqual(t, int64(sent), 2+2*(elapsed+paceTolerance)/1e6)
		now += 1e5
	}
	require.InDelta(t, 0.9, float64(now-start)/1e9, 0.05)
}

// Waking up for all that falls due meanwhile keeps up, and nobody is late by more than that.
func TestScheduleThatCoalescesIsOnTime(t *testing.T) {
	for _, flows := range []int{125, 200, 500, 999, 1000, 2500, 7999, 8001, 50_000} {
		s := testSchedule(flows, time.Second)
		s.cap(flows*3/2, 0, 0) // the tightest that makes good what was missed
		sent, end := 0, int64(3e9)
		for now := s.due(); s.due() < end; now = s.wake(now) {
			at := 0
			for ; s.ready() <= now; at++ {
				_, due := s.next(now)
				require.LessOrEqual(t, now-due, int64(s.together), "%d", flows)
				if due < end {
					sent++
				}
			}
			require.LessOrEqual(t, at, max(leaveTogether+1, flows*int(quantum)/int(time.Second)+1))
		}
		require.Equal(t, 2*flows, sent, "all that fell due")
	}
}

// A host that wakes up late, as a busy one does, does not fall behind for it.
func TestScheduleThatCoalescesCatchesUp(t *testing.T) {
	for _, flows := range []int{300, 1000, 2500, 7000} {
		s := testSchedule(flows, time.Second)
		s.cap(flows*3/2, 0, 0)
		random := rand.New(rand.NewPCG(1, 2))
		for now := s.due(); now < 30e9; now = s.wake(now) + random.Int64N(1e6) + 20e6*(random.Int64N(100)/99) {
			require.Less(t, now-s.due(), int64(100e6), "%d", flows)
			for s.ready() <= now {
				s.next(now)
			}
		}
	}
}

func TestScheduleCoalescesOnlyWhatIsDueCloseTogether(t *testing.T) {
	require.Zero(t, testSchedule(124, time.Second).coalesce(), "more than 8 ms apart")
	require.Equal(t, latest, testSchedule(125, time.Second).coalesce(), "two")
	require.Equal(t, latest, testSchedule(1000, time.Second).coalesce())
	require.Equal(t, 8*time.Millisecond, testSchedule(2000, time.Second).coalesce(), "sixteen")
	require.Equal(t, quantum, testSchedule(32_000, time.Second).coalesce())
	require.Equal(t, quantum, testSchedule(100_000, time.Second).coalesce())
	long := testSchedule(1000, time.Second)
	long.largest = 1500
	require.Equal(t, 4*time.Millisecond, long.coalesce(), "four of 1,500 octets")
	require.Zero(t, testSchedule(1, time.Millisecond).coalesce(), "never for one flow")
	require.Zero(t, testSchedule(4, 4*time.Millisecond).coalesce(), "nor for long, by a flow's own interval")
	require.Zero(t, testSchedule(0, time.Second).coalesce())
	require.Equal(t, maxMono, testSchedule(0, time.Second).due())
}

// stall lets a schedule be late, then sends as fast as it may for a while.
func stall(s *schedule, late, catchUp time.Duration) (sent, passed int) {
	now := s.due() + int64(late)
	for end := now + int64(catchUp); now < end; now += 1e5 {
		for s.hopeless(now) {
			s.pass()
			passed++
		}
		for s.ready() <= now {
			s.next(now)
			sent++
		}
	}
	return sent, passed
}

func TestScheduleStaysBelowTheCapsAfterAStall(t *testing.T) {
	for _, c := range []struct {
		name             string
		all, of, largest int
		perSecond        int // most that may leave
		passed           int // due times that cannot be made good
	}{
		{"far from the caps", 100_000, 100_000, 100, 2000, 0},
		{"near that of all", 1500, 0, 100, 1500, 0},
		{"near that of a target", 0, 150, 100, 1500, 0},
		{"at that of all", 1000, 0, 100, 1000, 380},
		{"above it", 500, 0, 100, 500, 1380}, // of 1,400 due in all: 400 in the stall
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSchedule(1000, time.Second)
			s.cap(c.all, c.of, c.largest)
			sent, passed := stall(s, 400*time.Millisecond, 2*time.Second)
			require.LessOrEqual(t, sent, 2*c.perSecond+5, "in 2 s")
			if c.passed == 0 {
				require.Zero(t, passed)
				require.InDelta(t, 2400, sent, 5, "all of it was made good")
				return
			}
			require.InDelta(t, c.passed, passed, 25)
			require.LessOrEqual(t, 2*1000+400-sent-passed, int(int64(s.together)+lateMost)/1e6+5, "nothing stays late")
		})
	}
}

func TestScheduleCountsCycles(t *testing.T) {
	s := testSchedule(4, 100*time.Millisecond)
	for range 9 {
		s.next(s.due())
	}
	require.EqualValues(t, 2, s.cycle)
	s.skip(s.due() + int64(350*time.Millisecond))
	require.EqualValues(t, 5, s.cycle)
}
