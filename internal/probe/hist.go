package probe

import (
	"math/bits"
	"slices"
)

// Histogram layout: values below 64 ns have a bucket each; above, every octave is
// cut into 64 buckets of equal width, so that a bucket's middle is at most
// 1/128 = 0.8 % away from any value in it (RelativeError).
const (
	subBits    = 6
	subBuckets = 1 << subBits
	maxBits    = 38 // 2^38 ns = 275 s; larger values share the last bucket
	buckets    = (maxBits - subBits + 1) * subBuckets

	// RelativeError bounds the error of a quantile that a Hist gives.
	RelativeError = 1.0 / (2 * subBuckets)

	// While they are few, values are kept as a list of bucket numbers: the same
	// answers as from the array, in 2 octets a value rather than 8 kB.
	maxSparse = 256
)

// Hist is a log-linear histogram of durations in nanoseconds. Two of them merge
// by addition. The zero value is empty and ready; it is not safe for concurrent use.
type Hist struct {
	sparse   []uint16
	dense    []uint32
	count    uint64
	sum      uint64
	min, max uint64
}

// Record adds one value in nanoseconds; negative ones count as 0.
func (h *Hist) Record(ns int64) {
	v := uint64(max(ns, 0))
	if h.count == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.count++
	h.sum += v
	b := bucketOf(v)
	if h.dense == nil {
		if len(h.sparse) < maxSparse {
			h.sparse = append(h.sparse, b)
			return
		}
		h.toDense()
	}
	h.dense[b]++
}

// Merge adds all values of o to h; o stays as it is.
func (h *Hist) Merge(o *Hist) {
	if o.count == 0 {
		return
	}
	if h.count == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.count += o.count
	h.sum += o.sum
	if h.dense == nil && (o.dense != nil || len(h.sparse)+len(o.sparse) > maxSparse) {
		h.toDense()
	}
	if h.dense == nil {
		h.sparse = append(h.sparse, o.sparse...)
		return
	}
	for _, b := range o.sparse {
		h.dense[b]++
	}
	for b, n := range o.dense {
		h.dense[b] += n
	}
}

// Reset empties h and keeps its memory, but for an array that few values were in.
func (h *Hist) Reset() {
	dense := h.dense
	if h.count <= maxSparse {
		dense = nil
	}
	clear(dense)
	*h = Hist{sparse: h.sparse[:0], dense: dense}
}

func (h *Hist) toDense() {
	h.dense = make([]uint32, buckets)
	for _, b := range h.sparse {
		h.dense[b]++
	}
	h.sparse = nil
}

// Without returns the values of h that are not o's; o was merged into h before. Its
// smallest and largest values are those of h, as bounds.
func (h *Hist) Without(o *Hist) Hist {
	out := Hist{dense: make([]uint32, buckets), min: h.min, max: h.max, count: h.count - o.count, sum: h.sum - o.sum}
	add := func(from *Hist, n uint32) {
		for _, b := range from.sparse {
			out.dense[b] += n
		}
		for b, m := range from.dense {
			out.dense[b] += n * m
		}
	}
	add(h, 1)
	add(o, ^uint32(0)) // minus one
	return out
}

// Max returns the largest value in nanoseconds, 0 if h is empty.
func (h *Hist) Max() uint64 { return h.max }

// Count returns how many values were recorded.
func (h *Hist) Count() uint64 { return h.count }

// Sum returns the sum of all values in nanoseconds.
func (h *Hist) Sum() uint64 { return h.sum }

// Each calls visit with the middle of each bucket that holds values, in nanoseconds, and
// how many; in no order, and maybe more than once for a bucket.
func (h *Hist) Each(visit func(ns float64, n uint64)) {
	for _, b := range h.sparse {
		visit(middleOf(b), 1)
	}
	for b, n := range h.dense {
		if n > 0 {
			visit(middleOf(uint16(b)), uint64(n))
		}
	}
}

// Summary is what a line or a table says of a distribution. Values in nanoseconds.
type Summary struct {
	Count                          uint64
	Min, Mean, P50, P90, P99, P999 float64
	Max                            float64
}

// Summary returns the distribution's figures; ok is false if it is empty.
// Min, mean and max are exact, quantiles within RelativeError.
func (h *Hist) Summary() (s Summary, ok bool) {
	if h.count == 0 {
		return Summary{}, false
	}
	s = Summary{Count: h.count, Min: float64(h.min), Max: float64(h.max), Mean: float64(h.sum) / float64(h.count)}
	var q [4]float64
	h.quantiles(q[:], 0.5, 0.9, 0.99, 0.999)
	s.P50, s.P90, s.P99, s.P999 = q[0], q[1], q[2], q[3]
	return s, true
}

// Quantile is Quantiles for one q, without an allocation; ok is false if h is empty.
func (h *Hist) Quantile(q float64) (ns float64, ok bool) {
	var out [1]float64
	if h.count > 0 {
		h.quantiles(out[:], q)
	}
	return out[0], h.count > 0
}

// Quantiles returns, for each q (0 to 1, ascending), the value in nanoseconds
// that at least the fraction q of all values do not exceed. It is nil if h is empty.
func (h *Hist) Quantiles(qs ...float64) []float64 {
	if h.count == 0 {
		return nil
	}
	out := make([]float64, len(qs))
	h.quantiles(out, qs...)
	return out
}

// quantiles fills out, which is as long as qs.
func (h *Hist) quantiles(out []float64, qs ...float64) {
	next := func(i int) uint64 { return max(1, uint64(qs[i]*float64(h.count)+0.999999)) }
	var seen uint64
	i := 0
	visit := func(b uint16, n uint64) {
		seen += n
		for i < len(qs) && seen >= min(next(i), h.count) {
			out[i] = min(max(middleOf(b), float64(h.min)), float64(h.max))
			i++
		}
	}
	if h.dense == nil {
		var room [maxSparse]uint16 // on the stack: every line of a window comes by here
		sorted := append(room[:0], h.sparse...)
		slices.Sort(sorted)
		for _, b := range sorted {
			visit(b, 1)
		}
		return
	}
	for b, n := range h.dense {
		if n > 0 {
			visit(uint16(b), uint64(n))
		}
	}
}

// Octave k of the array holds values of k+subBits significant bits; octave 0 and
// the first 64 values coincide.
func bucketOf(v uint64) uint16 {
	octave := bits.Len64(v) - subBits - 1
	if octave < 0 {
		return uint16(v)
	}
	if octave > maxBits-subBits-1 {
		return buckets - 1
	}
	return uint16((octave+1)<<subBits + int(v>>octave) - subBuckets)
}

func middleOf(b uint16) float64 {
	if b < subBuckets {
		return float64(b)
	}
	octave := int(b>>subBits) - 1
	low := uint64(int(b)&(subBuckets-1)+subBuckets) << octave
	return float64(low) + float64(uint64(1)<<octave-1)/2
}
