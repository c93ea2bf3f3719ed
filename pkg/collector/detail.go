package collector

import (
	"cmp"
	"slices"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// A flowRef is a flow whose detail is wanted.
type flowRef struct {
	n     int // of the window's: details keep the order of flows
	rank  rank
	path  *probe.Path
	part  *pathWindow
	flow  int
	alone bool // the only part
}

// A rank says which details go first where there are too many.
type rank uint8

const (
	rankLossy rank = iota
	rankSlow
	rankOther
)

// details adds the detail of flows with loss, of slow ones and, by choice, of all
// to the paths that the parts became.
func (r *reporter) details(paths []probe.Path, parts [][]*pathWindow) {
	var refs []flowRef
	var rtt probe.Hist
	for i := range paths {
		p := &paths[i]
		is := slowness(p, r.slow)
		for _, w := range parts[i] {
			if w.path.key.addr != p.Addr {
				continue // it would be told of the wrong address
			}
			w.rtts.sort()
			for j := range w.flows {
				ref := flowRef{n: len(refs), rank: rankOther, path: p, part: w, flow: j, alone: len(parts[i]) == 1}
				switch {
				case w.counts(j).Lost > 0:
					ref.rank = rankLossy
				case is.rtt != nil && is.slow(w.rtts.of(j, &rtt)):
					ref.rank = rankSlow
				case !r.all:
					continue
				}
				refs = append(refs, ref)
			}
		}
	}
	for _, ref := range r.cut(refs) {
		f := ref.part.flow(ref.flow)
		if ref.alone { // no port comes twice, and there may be very many
			ref.path.FlowDetail = append(ref.path.FlowDetail, f)
			continue
		}
		addFlow(ref.path, f)
	}
}

// cut keeps as many details as may be written: each flow is a series.
func (r *reporter) cut(refs []flowRef) []flowRef {
	if r.most == 0 || len(refs) <= r.most {
		return refs
	}
	over := len(refs) - r.most
	r.stats[countFlowLinesCut].Add(uint64(over))
	if time.Since(r.cutLogged) >= r.logEach {
		r.cutLogged = time.Now()
		r.log.Warn("flows without a line of their own", "flows", over, "max_flow_lines", r.most)
	}
	slices.SortStableFunc(refs, func(a, b flowRef) int { return cmp.Compare(a.rank, b.rank) })
	refs = refs[:r.most]
	slices.SortFunc(refs, func(a, b flowRef) int { return cmp.Compare(a.n, b.n) })
	return refs
}

// Of fewer RTTs than that a median says little.
const fewestRTTs = 5

// A judge says which flows of a path are slow.
type judge struct {
	rtt    *probe.Hist // of the path
	factor float64
	least  float64 // ns: what is not above it is not slow, whatever the others are
}

func slowness(p *probe.Path, factor float64) judge {
	q := p.RTT.Quantiles(0.25)
	if factor == 0 || q == nil {
		return judge{}
	}
	// The path's first quartile is not above the 90 % quantile of the others, as long
	// as the flow has no more than half of the RTTs.
	return judge{rtt: &p.RTT, factor: factor, least: factor * q[0]}
}

// slow says whether the median RTT of a flow is more than factor times the 90 %
// quantile of the path's other flows.
func (j *judge) slow(flow *probe.Hist) bool {
	if flow.Count() < fewestRTTs || float64(flow.Max()) <= j.least {
		return false
	}
	median := flow.Quantiles(0.5)[0]
	if median <= j.least {
		return false
	}
	others := j.rtt.Without(flow)
	if others.Count() < fewestRTTs {
		return false
	}
	return median > j.factor*others.Quantiles(0.9)[0]
}
