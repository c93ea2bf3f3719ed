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
// lateMost is passed over.
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

// Probes due closer together than this leave together, a few at a time: waking
// for each would cost more than sending it.
const quantum = 500 * time.Microsecond

// coalesce returns how long to sleep at least: 0 while probes are due further apart.
func (s *schedule) coalesce() time.Duration {
	if n := len(s.flows); n > 0 && s.interval/int64(n) < int64(quantum) {
		return quantum
	}
	return 0
}

// ready returns when the next probe may leave: due, or later while catching up.
func (s *schedule) ready() int64 { return max(s.due(), s.pace) }

// next takes the flow whose turn it is.
func (s *schedule) next(now int64) (f *flow, due int64) {
	f, due = s.flows[s.at], s.due()
	boost := s.boost
	if boost == 0 {
		boost = maxBoost
	}
	s.pace = max(s.pace, now-paceTolerance) + int64(float64(s.interval)/(boost*float64(len(s.flows))))
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
	return s.boost != 0 && s.boost < leastBoost && now-s.due() > lateMost
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
	if n == 0 || len(flows) == 0 {
		s.origin, s.at = now, 0
		return
	}
	s.at = s.at * len(flows) / n
	s.origin = due - int64(s.at)*s.interval/int64(len(flows))
}
