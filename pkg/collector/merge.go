package collector

import (
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// series is what makes a line's tags: two points of one window never share it.
type series struct {
	dst, class string
	family     int
	clock      probe.Clock
}

func seriesOf(p *probe.Path) series {
	return series{dst: p.Dst, class: p.Class.Name, family: p.Family, clock: p.Clock}
}

// merge adds an older path of the same series to p: within a window the target's
// address or its source ports have changed. The rest is the newer one's.
func merge(p, older *probe.Path) {
	drops := p.HostDrops
	p.Counts.Add(&older.Counts)
	p.HostDrops = max(drops, older.HostDrops) // of the host, not of either path
	p.RTT.Merge(&older.RTT)
	p.Responder.Merge(&older.Responder)
	p.SendLate.Merge(&older.SendLate)
	p.Flows += older.Flows
	p.FlowsLossy += older.FlowsLossy
	p.FlowsPathChanged += older.FlowsPathChanged
	p.FlowsRemarked += older.FlowsRemarked
	for _, r := range older.NotSentBy {
		addReason(p, r)
	}
	for _, z := range older.Sizes {
		addSize(p, z)
	}
	for _, o := range []struct{ mine, theirs *probe.Opt }{
		{&p.Jitter, &older.Jitter}, {&p.HopsForward, &older.HopsForward}, {&p.HopsReverse, &older.HopsReverse},
		{&p.DSCPForward, &older.DSCPForward}, {&p.DSCPReverse, &older.DSCPReverse},
	} {
		if !o.mine.OK {
			*o.mine = *o.theirs
		}
	}
	if p.Addr == older.Addr { // or else the older flows would be told of the wrong address
		for i := range older.FlowDetail {
			addFlow(p, &older.FlowDetail[i])
		}
	}
}

func addReason(p *probe.Path, r probe.Reason) {
	for i := range p.NotSentBy {
		if p.NotSentBy[i].Name == r.Name {
			p.NotSentBy[i].Count += r.Count
			return
		}
	}
	p.NotSentBy = append(p.NotSentBy, r)
}

// addSize keeps sizes ascending.
func addSize(p *probe.Path, z probe.SizeCount) {
	i, found := slices.BinarySearchFunc(p.Sizes, z.Size, func(c probe.SizeCount, size int) int { return c.Size - size })
	if !found {
		p.Sizes = slices.Insert(p.Sizes, i, probe.SizeCount{Size: z.Size})
	}
	p.Sizes[i].Sent += z.Sent
	p.Sizes[i].Received += z.Received
}

func addFlow(p *probe.Path, f *probe.Flow) {
	for i := range p.FlowDetail {
		if mine := &p.FlowDetail[i]; mine.SrcPort == f.SrcPort {
			mine.Counts.Add(&f.Counts)
			mine.RTT.Merge(&f.RTT)
			return
		}
	}
	p.FlowDetail = append(p.FlowDetail, *f)
}
