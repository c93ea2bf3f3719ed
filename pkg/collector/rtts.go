package collector

import (
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// rtts are the RTTs of a path's flows in one window: a list while they are few, as
// where a flow has one in the window or none, and a histogram a flow beyond.
type rtts struct {
	flows int
	list  []uint64     // flow << flowShift | ns
	hists []probe.Hist // by flow; nil: all are in the list
}

const (
	flowShift = 48
	// A histogram of a flow takes 80 octets before it has a value, and 2 for each.
	listedAFlow = 12
)

func (r *rtts) record(flow uint16, ns int64) {
	if r.hists == nil {
		if len(r.list) < listedAFlow*r.flows && uint64(ns)>>flowShift == 0 {
			r.list = append(r.list, uint64(flow)<<flowShift|uint64(ns))
			return
		}
		r.spread()
	}
	r.hists[flow].Record(ns)
}

// spread moves the list into histograms.
func (r *rtts) spread() {
	r.hists = make([]probe.Hist, r.flows)
	for _, v := range r.list {
		r.hists[v>>flowShift].Record(nsOf(v))
	}
	r.list = nil
}

func nsOf(v uint64) int64 { return int64(v & (1<<flowShift - 1)) }

func (r *rtts) empty() bool {
	for i := range r.hists {
		if r.hists[i].Count() > 0 {
			return false
		}
	}
	return len(r.list) == 0
}

// addTo merges the RTTs of all flows.
func (r *rtts) addTo(h *probe.Hist) {
	for _, v := range r.list {
		h.Record(nsOf(v))
	}
	for i := range r.hists {
		h.Merge(&r.hists[i])
	}
}

// of returns the RTTs of one flow, made in into where they are listed. The list has
// to be in order (sort).
func (r *rtts) of(flow int, into *probe.Hist) *probe.Hist {
	if r.hists != nil {
		return &r.hists[flow]
	}
	into.Reset()
	from, _ := slices.BinarySearch(r.list, uint64(flow)<<flowShift)
	for _, v := range r.list[from:] {
		if int(v>>flowShift) != flow {
			break
		}
		into.Record(nsOf(v))
	}
	return into
}

// sort has each flow's RTTs stand together.
func (r *rtts) sort() { slices.Sort(r.list) }

// reset keeps the memory, in the form that the last window had.
func (r *rtts) reset() {
	if r.hists == nil {
		r.list = r.list[:0]
		return
	}
	n := uint64(0)
	for i := range r.hists {
		n += r.hists[i].Count()
		r.hists[i].Reset()
	}
	if n <= uint64(listedAFlow*r.flows) {
		r.hists = nil
	}
}
