package collector

import (
	"math"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A transit is what a one-way delay needs of a reply, beside what its slot has.
// Transits stand apart from slots, which most agents then do not pay them for.
type transit struct {
	t2  int64 // when the probe reached the reflector, by its clock, as monotonic ns of this host
	err int64 // ns: the error that the reflector states of its clock; below 0: no one-way delay
}

// oneWayWindow is a path's one-way delays in one window.
type oneWayWindow struct {
	forward, reverse probe.SignedHist // negative where the clocks differ by more than the delay
	err              int64            // ns: the largest sum of both errors
}

// noteTransit keeps T2 of a reply whose sender says that its clock is synchronised.
// A PTPv2 stamp is left out: whether it counts TAI or UTC is not in it.
func (l *loop) noteTransit(f *flow, r *stamp.Reply) {
	if f.path.transits == nil {
		return
	}
	t := f.path.transit(f, r.SenderSeq)
	*t = transit{err: -1}
	e := r.ErrorEstimate
	if !e.Synchronized() || e.Format() != stamp.NTP || e.Nanos() == math.MaxInt64 {
		return
	}
	t.t2 = l.offset.mono(stamp.NTP.UnixNano(r.ReceiveTimestamp, l.offset.at+l.offset.wallMinusMono))
	t.err = e.Nanos()
}

func (p *path) transit(f *flow, seq uint32) *transit {
	return &p.transits[uint32(f.index)*p.inFlight+seq%p.inFlight]
}

// endOneWay divides an RTT into its two ways: T2-T1 and T4-T3, each between the
// clocks of both hosts. Their sum is the RTT, in which no clock has to agree.
func (l *loop) endOneWay(f *flow, s *slot, w *pathWindow, rtt int64) {
	if w.oneWay == nil {
		return
	}
	t := f.path.transit(f, f.tail)
	if t.err < 0 || !l.estimated.Synchronized() || l.estimated.Nanos() == math.MaxInt64 {
		l.stats.add(countOneWayUnknown)
		return
	}
	t1 := s.t1
	if t1 == 0 {
		t1 = s.sent
	}
	forward := t.t2 - t1
	w.oneWay.forward.Record(forward)
	w.oneWay.reverse.Record(rtt - forward)
	w.oneWay.err = max(w.oneWay.err, t.err+l.estimated.Nanos())
}

// newOneWay is the delays of a window that is opened.
func (p *path) newOneWay() *oneWayWindow {
	if p.transits == nil {
		return nil
	}
	return &oneWayWindow{}
}

func (w *oneWayWindow) reset() {
	if w != nil {
		w.forward.Reset()
		w.reverse.Reset()
		w.err = 0
	}
}

func (w *oneWayWindow) addTo(p *probe.Path) {
	if w == nil || w.forward.Count() == 0 {
		return
	}
	if p.OneWay == nil {
		p.OneWay = &probe.OneWay{}
	}
	p.OneWay.Forward.Merge(&w.forward)
	p.OneWay.Reverse.Merge(&w.reverse)
	p.OneWay.Error = max(p.OneWay.Error, float64(w.err))
}
