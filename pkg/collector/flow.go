package collector

import (
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A flow is one STAMP session: (source, destination, source port, class). There may be
// half a million: what few of them need stands elsewhere, and the order of the fields
// leaves no gaps.
type flow struct {
	path    *path
	sock    *socket
	lastRTT int64 // ns, of the last settled probe that had one; -1 if none
	dir     direction

	next  uint32 // sequence number of the next probe
	tail  uint32 // oldest probe that is not yet forgotten; slots hold [tail, next)
	seen  uint32 // 1 + highest sequence number answered so far: what arrives below is reordered
	left  int32  // probes still to send where the count is limited
	batch uint32 // number of the batch that its last probe was put in
	row   int32  // in the kernel's tables; -1 if it has none

	marks   marks  // as last seen
	index   uint16 // in path.flows
	stamped bool   // what it transmits is stamped: a probe without a stamp never left
}

// A slot collects what is heard of one probe until it is forgotten.
type slot struct {
	wire      stamp.Timestamp // T1 as it was sent: an echo must match
	sent      int64           // monotonic ns, read just before the send
	due       int64           // monotonic ns
	t1        int64           // monotonic ns, when it was transmitted; 0 if unknown
	t4        int64           // monotonic ns, when the reply was received; 0 if unknown
	got       int64           // monotonic ns, when the batch that brought the reply was read
	responder int64           // T3-T2, ns; -1 if the stamps make no sense
	win       uint32          // number of the window it was sent in
	counters  counters
	state     slotState
	dups      uint8 // replies beyond the first
	extra     uint8 // those of them that have a reply number of their own
	flags     slotFlags
	marks     marks
}

// A ring has many slots, and a byte more in each would be eight.
type slotFlags uint8

const (
	slotReordered slotFlags = 1 << iota
	slotKernel              // to be measured in the kernel,
	slotAsked               // though it is, a transmit stamp was asked for
	slotCaptured            // its reply was: t1 and t4 are the kernel's
	slotEventLost           // its reply was dropped there, as known when its flow lost its row;
	slotNotSeen             // likewise, the probe had not been seen there
)

func (s *slot) is(f slotFlags) bool { return s.flags&f != 0 }

type slotState uint8

const (
	slotWaiting slotState = iota
	slotAnswered
	slotUnreachable // an ICMP error quoted it
	slotNeverLeft   // this host itself could not reach the next hop
)

// counters is what a reply says of its session at the reflector.
type counters struct {
	kind   counterKind
	rx, tx uint32
}

type counterKind uint8

const (
	noCounters counterKind = iota
	byNumber               // the reply's own sequence number: only tx is known
	byTLV                  // Direct Measurement TLV, understood by the reflector
)

// marks is what a packet carried on arrival, both ways; unknown is 0xff.
type marks struct {
	hopsForward, hopsReverse uint8
	dscpForward, dscpReverse uint8
}

const unknown = 0xff

var noMarks = marks{unknown, unknown, unknown, unknown}

// holds says whether the probe with that number is still remembered.
func (f *flow) holds(seq uint32) bool { return seq-f.tail < f.next-f.tail }

// holder returns the flow that has the probe with that number and T1 in flight:
// f, or one that left the plan and had the same session before it. If none has
// both, it is f as long as f has the number; else nil.
func (l *loop) holder(f *flow, seq uint32, wire stamp.Timestamp) *flow {
	for g := f; g != nil; g = l.older[g] {
		if g.holds(seq) && g.slot(seq).wire == wire {
			return g
		}
	}
	if f.holds(seq) {
		return f
	}
	return nil
}

// silent says whether nothing has come back of late of what was sent before the
// sockets and the ring were last found empty.
func (f *flow) silent(drained int64) bool {
	if !f.holds(f.seen) {
		return f.seen != f.next // or what was sent first after the last reply is forgotten already
	}
	return f.slot(f.seen).sent+silentAfter < drained
}

// silentAfter is longer than most round trips: those above it only cost stamps.
const silentAfter = int64(100e6)

// hops returns the number of routers that a packet crossed, judged by the
// nearest initial TTL above the one it arrived with: 255 by RFC 8762 section
// 4.3.1, and 64 and 128 for reflectors that leave it to their host.
func hops(ttl uint8) uint8 {
	switch {
	case ttl == 0:
		return unknown
	case ttl <= 64:
		return 64 - ttl
	case ttl <= 128:
		return 128 - ttl
	}
	return 255 - ttl
}
