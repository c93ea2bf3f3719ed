package collector

import "time"

// A schedule gives every flow its own phase in the interval: flow k of n is due
// at origin + cycle·interval + k·interval/n. So probes leave evenly, however
// many targets there are, and the time of each is absolute: a late probe does
// not move the next one.
type schedule struct {
	flows    []*flow
	interval int64 // ns
	origin   int64 // monotonic ns, of the current cycle
	cycle    int64 // counts them
	at       int   // next flow
	settled  int   // flows up to it have no probe in flight that could have ended (settleLent)

	largest  int           // octets of a probe, at the most
	together time.Duration // what falls due within it leaves together; 0: each by itself

	pace  int64   // GCRA: when the next probe may leave at the earliest
	boost float64 // how many times the usual rate it may be while catching up; 0: maxBoost
}

// After a stall, what is due leaves at most at twice the usual rate, beyond
// what was due within one millisecond.
const (
	paceTolerance = int64(1e6)
	maxBoost      = 2.0
)

// Below that boost catching up would take too long: what is late by more than
// lateMost is passed over; not for having been left to wait for others.
const (
	leastBoost = 1.3
	lateMost   = int64(20e6)
)

func (s *schedule) due() int64 {
	if len(s.flows) == 0 {
		return maxMono
	}
	return s.origin + int64(s.at)*s.interval/int64(len(s.flows))
}

// What falls due within quantum leaves together: waking for each probe would cost more
// than sending it. Where that are few, it is up to leaveTogether, none of them later than
// latest, nor than a small part of its flow's interval. Long probes are fewer, since they
// wait for each other on the wire.
const (
	quantum       = 500 * time.Microsecond
	leaveTogether = 16
	leastTogether = 4
	mostOctets    = 6000 // of more than leastTogether
	latest        = 16 * time.Millisecond
)

// coalesce returns how long to sleep at least, once awake: 0 while not even two are due
// within that time, since a probe that leaves alone had better leave on time.
func (s *schedule) coalesce() time.Duration {
	if len(s.flows) == 0 {
		return 0
	}
	interval := time.Duration(s.interval)
	apart := interval / time.Duration(len(s.flows))
	n := time.Duration(min(leaveTogether, max(leastTogether, mostOctets/max(1, s.largest))))
	if together := max(quantum, min(n*apart, n*latest/leaveTogether, interval/8)); 2*apart <= together {
		return together
	}
	return 0
}

// ready returns when the next probe may leave: due, or later while catching up.
func (s *schedule) ready() int64 { return max(s.due(), s.pace) }

// wake returns when to look again for what is due, having looked at woken. Catching up
// goes in small steps.
func (s *schedule) wake(woken int64) int64 {
	together := s.together
	if s.pace > s.due() {
		together = min(together, quantum)
	}
	return max(s.ready(), woken+int64(together))
}

// next takes the flow whose turn it is.
func (s *schedule) next(now int64) (f *flow, due int64) {
	f, due = s.flows[s.at], s.due()
	boost := s.boost
	if boost == 0 {
		boost = maxBoost
	}
	tolerance := paceTolerance
	if now-due <= int64(s.together)+paceTolerance {
		tolerance = max(tolerance, int64(s.together)) // it is not late: it was to leave with others
	}
	s.pace = max(s.pace, now-tolerance) + int64(float64(s.interval)/(boost*float64(len(s.flows))))
	s.pass()
	return f, due
}

// pass goes on to the next flow.
func (s *schedule) pass() {
	s.at++
	if s.at == len(s.flows) {
		s.at = 0
		s.origin += s.interval
		s.cycle++
	}
}

// cap bounds the rate: not even after a stall do more probes leave in a second, of
// all flows and of the largest target's, than that; 0 is no bound.
func (s *schedule) cap(all, ofTarget, largestTarget int) {
	s.boost = maxBoost
	for _, c := range [...]struct{ rate, flows int }{{all, len(s.flows)}, {ofTarget, largestTarget}} {
		if c.rate > 0 && c.flows > 0 {
			s.boost = min(s.boost, float64(c.rate)*float64(s.interval)/(1e9*float64(c.flows)))
		}
	}
}

// hopeless says whether the next flow's due time is to be passed over: at the rate
// allowed it could not be made good.
func (s *schedule) hopeless(now int64) bool {
	return s.boost != 0 && s.boost < leastBoost && now-s.due() > int64(s.together)+lateMost
}

// skip passes over due times missed by more than an interval, the same number
// for each flow, and returns that number.
func (s *schedule) skip(now int64) (missed int64) {
	if len(s.flows) == 0 || now-s.due() <= s.interval {
		return 0
	}
	missed = (now - s.due()) / s.interval
	s.origin += missed * s.interval
	s.cycle += missed
	return missed
}

// restart goes on with other flows, at the same point of the cycle: a plan that
// changes often must not starve the flows at its end.
func (s *schedule) restart(flows []*flow, now int64) {
	due, n := s.due(), len(s.flows)
	s.flows = flows
	s.together = s.coalesce()
	if n == 0 || len(flows) == 0 {
		s.origin, s.at = now, 0
		return
	}
	s.at = s.at * len(flows) / n
	s.origin = due - int64(s.at)*s.interval/int64(len(flows))
}
