package probe

import (
	"math"
	"net/netip"
	"time"
)

// Window is what a collector hands over when the last probe of a window is
// forgotten.
type Window struct {
	Start, End time.Time // End is the time of every line of the window, and unique
	Paths      []Path
}

// Path is one line of llama_path: everything about one (dst, family, class,
// clock) in one window.
type Path struct {
	Dst     string
	DstTags map[string]string // shared and read-only
	Family  int               // 4 or 6
	Addr    netip.AddrPort    // the destination probed
	SrcAddr netip.Addr        // the address probes left from; invalid if unknown
	Class   Class
	Clock   Clock

	Counts
	NotSentBy []Reason // NotSent by reason, those above 0

	RTT       Hist // ns: (T4-T1)-(T3-T2)
	Responder Hist // ns: T3-T2, the responder's delay
	SendLate  Hist // ns: from a probe's due time to T1
	Jitter    Opt  // ns: interarrival jitter, RFC 3550 section 6.4.1, over round trips

	OneWay *OneWay // nil: no one-way delays

	HopsForward, HopsReverse Opt // commonest value
	DSCPForward, DSCPReverse Opt // commonest value: as it arrived at the reflector, and here

	Flows, FlowsLossy, FlowsPathChanged, FlowsRemarked int

	FlowsAnswered int // flows that had a reply in time
	EqualPaths    int // that ECMP has to choose from; 0: not known

	Sizes []SizeCount // ascending; none where sizes are not swept

	FlowDetail []Flow // flows with loss and slow ones, or all, by configuration
}

// OneWay is one-way delays, by the clocks of both hosts where both say that they are
// synchronised, and by choice; ns, negative where the clocks differ by more.
type OneWay struct {
	Forward, Reverse SignedHist
	Error            float64 // ns: the largest sum of the errors that both state of their clocks
}

// Coverage returns the part of the path's N equal paths that the flows with replies
// can be expected to have met, 0 to 1: 1 - (1 - 1/N)^flows. It has no value where N
// is not known.
func (p *Path) Coverage() Opt {
	if p.EqualPaths <= 0 {
		return Opt{}
	}
	return Some(1 - math.Pow(1-1/float64(p.EqualPaths), float64(p.FlowsAnswered)))
}

// SizeCount says what became of the probes of one size.
type SizeCount struct {
	Size           int // octets of the IP packet
	Sent, Received uint64
}

// SizeMax returns the largest size that passed, that is of which a reply came in
// time, and the largest that left this host.
func (p *Path) SizeMax() (passed, sent Opt) {
	for _, z := range p.Sizes {
		if z.Received > 0 {
			passed = Some(float64(z.Size))
		}
		if z.Sent > 0 {
			sent = Some(float64(z.Size))
		}
	}
	return passed, sent
}

// Flow is one 5-tuple of a path: what llama_flow and ping's flows say. A probe's
// flow is (source, destination, source port, class) and is one STAMP session.
type Flow struct {
	SrcPort uint16
	Counts
	RTT                      Hist // ns
	HopsForward, HopsReverse Opt
	DSCPForward, DSCPReverse Opt
}

// Reason is a cause with the number of probes it held back.
type Reason struct {
	Name  string
	Count uint64
}

// Opt is a figure that may have no value: what is unknown is left out, never 0.
type Opt struct {
	Value float64
	OK    bool
}

// Some returns an Opt that has the value v.
func Some(v float64) Opt { return Opt{Value: v, OK: true} }
