package collector

import "github.com/llama-agent/llama-agent/internal/probe"

// A flowWindow counts one flow in one window. Most flows only send and receive; what
// else becomes of their probes stands in pathWindow.rest. Counts of a flow are below
// 2^32, which at one probe a millisecond is 49 days.
type flowWindow struct {
	sent, received uint32
	rest           uint32 // 1 + index in pathWindow.rest; 0: there is nothing in it
	marks          marks  // as last seen
}

// restCounts is what few flows have any of; probe.Counts says what each is.
type restCounts struct {
	late, lostForward, lostReverse, lostUnsplit, refused, unreachable, localDrop, notSent uint32
	duplicate, reordered, corrupted                                                       uint32
	changed                                                                               bool // a hop count differs from the one before
}

// rest returns what is to be counted of flow i beside what it sent and received; valid
// until the next call.
func (w *pathWindow) rest(i uint16) *restCounts {
	f := &w.flows[i]
	if f.rest == 0 {
		w.rests = append(w.rests, restCounts{})
		f.rest = uint32(len(w.rests))
	}
	return &w.rests[f.rest-1]
}

// counts returns what became of a flow's probes.
func (w *pathWindow) counts(i int) probe.Counts {
	f := &w.flows[i]
	c := probe.Counts{Sent: uint64(f.sent), Received: uint64(f.received)}
	if f.rest > 0 {
		w.rests[f.rest-1].addTo(&c)
	}
	return c
}

func (r *restCounts) addTo(c *probe.Counts) {
	c.Late += uint64(r.late)
	c.Lost += uint64(r.lostForward) + uint64(r.lostReverse) + uint64(r.lostUnsplit)
	c.LostForward += uint64(r.lostForward)
	c.LostReverse += uint64(r.lostReverse)
	c.LostUnsplit += uint64(r.lostUnsplit)
	c.Refused += uint64(r.refused)
	c.Unreachable += uint64(r.unreachable)
	c.LocalDrop += uint64(r.localDrop)
	c.NotSent += uint64(r.notSent)
	c.Duplicate += uint64(r.duplicate)
	c.Reordered += uint64(r.reordered)
	c.Corrupted += uint64(r.corrupted)
}

// changed says whether the length of flow i's path changed.
func (w *pathWindow) changed(i int) bool {
	rest := w.flows[i].rest
	return rest > 0 && w.rests[rest-1].changed
}
