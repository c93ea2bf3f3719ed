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
	at       int   // next flow

	pace int64 // GCRA: when the next probe may leave at the earliest
}

// After a stall, what is due leaves at most at twice the usual rate, beyond
// what was due within one millisecond.
const paceTolerance = int64(1e6)

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
	s.pace = max(s.pace, now-paceTolerance) + s.interval/int64(2*len(s.flows))
	s.at++
	if s.at == len(s.flows) {
		s.at = 0
		s.origin += s.interval
	}
	return f, due
}

// skip passes over due times missed by more than an interval, the same number
// for each flow, and returns that number.
func (s *schedule) skip(now int64) (missed int64) {
	if len(s.flows) == 0 || now-s.due() <= s.interval {
		return 0
	}
	missed = (now - s.due()) / s.interval
	s.origin += missed * s.interval
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
