package probe

// SignedHist is a [Hist] of durations that may be negative: one for each sign. The
// zero value is empty and ready.
type SignedHist struct{ negative, positive Hist }

// Record adds one value in nanoseconds.
func (h *SignedHist) Record(ns int64) {
	if ns < 0 {
		h.negative.Record(-ns)
		return
	}
	h.positive.Record(ns)
}

// Merge adds all values of o to h; o stays as it is.
func (h *SignedHist) Merge(o *SignedHist) {
	h.negative.Merge(&o.negative)
	h.positive.Merge(&o.positive)
}

// Reset empties h.
func (h *SignedHist) Reset() {
	h.negative.Reset()
	h.positive.Reset()
}

// Count returns how many values were recorded.
func (h *SignedHist) Count() uint64 { return h.negative.Count() + h.positive.Count() }

// Quantile returns the value in nanoseconds that at least the fraction q of all
// values do not exceed, within RelativeError; ok is false if h is empty.
func (h *SignedHist) Quantile(q float64) (ns float64, ok bool) {
	below, all := h.negative.Count(), h.Count()
	if all == 0 {
		return 0, false
	}
	rank := min(max(1, uint64(q*float64(all)+0.999999)), all)
	if rank > below {
		return h.positive.atRank(rank - below), true
	}
	return -h.negative.atRank(below - rank + 1), true // the most negative comes first
}

// atRank returns the rank-th smallest value, from 1.
func (h *Hist) atRank(rank uint64) float64 {
	return h.Quantiles((float64(rank) - 0.5) / float64(h.count))[0]
}
