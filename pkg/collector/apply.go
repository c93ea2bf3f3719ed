package collector

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A resolvedPlan is a Plan with an address for each target, made outside the loop.
type resolvedPlan struct {
	Plan
	number    int   // of the Plan, which is the same as long as this is
	step      int64 // of the rotation of source ports
	endpoints []endpoint
	device    device
	wire      stamp.Clock // how T1 is written
	complete  bool        // names were asked for, not only literal addresses taken
}

// same says whether nothing is different that the loop would have to look at.
func (p *resolvedPlan) same(o *resolvedPlan) bool {
	return p.number == o.number && p.step == o.step && p.complete == o.complete && p.wire == o.wire && p.device == o.device && slices.Equal(p.endpoints, o.endpoints)
}

// An endpoint is one address of a target.
type endpoint struct {
	target *probe.Target
	addr   netip.AddrPort
	route  route
}

// apply makes the plan the one that is probed. Paths that stay keep their
// sessions; those that go are forgotten once their last window is written.
func (l *loop) apply(p *resolvedPlan) {
	for l.closing.active {
		l.closeWindows()
	}
	l.complete, l.wire = p.complete, p.wire
	l.schedule.largest = p.largest()
	l.fit(l.schedule.largest)
	l.broken.Store(false)
	l.turnSocketsTo(p.device)
	all := p.paths()
	wanted := make(map[pathKey]*path, len(all))
	for _, w := range all {
		wanted[w.key] = l.paths[w.key]
	}
	changed := l.schedule.flows == nil
	for key, old := range l.paths {
		if wanted[key] == nil {
			l.retire(old)
			changed = true
		}
	}
	l.paths = make(map[pathKey]*path, len(all))
	l.estimated = 0
	templates := map[templateKey]*stamp.Template{}
	for i, w := range all {
		made := wanted[w.key]
		if made == nil {
			var err error
			if made, err = l.newPath(p, &w, templates); err != nil {
				l.log.Error("target not probed", "target", w.target.Name, "class", w.key.class.Name, "error", err)
				continue
			}
			changed = true
		}
		l.refresh(made, &w.endpoint)
		made.order = i
		l.paths[w.key] = made
	}
	l.sweepPacketSockets()
	if changed { // or else every flow keeps its phase
		l.reschedule()
	}
}

// refresh takes over what may have changed of a path that stays: its tags, the
// way to it, and sockets that could not be opened before.
func (l *loop) refresh(p *path, e *endpoint) {
	way := e.route
	if way.ifIndex == 0 {
		// Nothing leaves as long as there is no route. Most come back as they were, and what is sent
		// then is not to wait for the next look before it is measured as it was.
		blocked, why := way.blocked, way.blockReason
		way = p.route
		way.blocked, way.blockReason = blocked, why
		way.kernel = l.kernel != nil && l.kernel.Covers(way.ifIndex)
	}
	moved := p.route.ifIndex != way.ifIndex
	p.target, p.route = e.target, way
	l.enlist(p)
	l.frameProbes(p)
	if moved {
		p.stamped = false // until a stamp comes that way, too
	}
	if e.addr.Addr().Zone() != "" {
		p.dest = sock.NewSockaddr(e.addr) // the interface may have been made anew
		l.broken.Store(true)
	}
	for i := range p.flows {
		f := &p.flows[i]
		if moved {
			f.stamped = way.stamps || p.kernel
		}
		if f.sock.fd < 0 {
			l.reopenSocket(f.sock)
			l.broken.Store(true)
		}
	}
}

// retire takes a path out of the schedule; replies to what it sent still count.
func (l *loop) retire(p *path) {
	for i := range p.flows {
		l.left -= int(p.flows[i].left)
		p.flows[i].left = 0
	}
	l.retiring = append(l.retiring, p)
}

// plannedPath is a path that a plan asks for.
type plannedPath struct {
	endpoint
	key   pathKey
	class int // index in Plan.Classes
	ports []uint16
}

func (p *resolvedPlan) paths() []plannedPath {
	out := make([]plannedPath, 0, len(p.endpoints)*len(p.Classes))
	sizes, named := fmt.Sprint(p.Sizes), map[string]string{} // one string for all that are alike
	names := map[netip.AddrPort]int{}                        // that the addresses before had
	var ring []uint16
	if p.Rotate > 0 {
		ring = p.Ports(math.MaxUint16)
	}
	for _, e := range p.endpoints {
		for i, class := range p.Classes {
			for _, ports := range p.portsOf(ring, e.target, i, names[e.addr]) {
				key := pathKey{
					target: e.target.Name, class: class, addr: e.addr, tlv: e.target.TLV,
					key: string(e.target.Key), size: p.Size, sizes: sizes, ports: intern(named, fmt.Sprint(ports)),
				}
				if e.target.SSID {
					key.ssid = uint16(i + 1)
				}
				out = append(out, plannedPath{endpoint: e, key: key, class: i, ports: ports})
			}
		}
		names[e.addr]++
	}
	return out
}

func intern(all map[string]string, s string) string {
	if known, ok := all[s]; ok {
		return known
	}
	all[s] = s
	return s
}

// portsOf: all targets share the first ports, so that what is due leaves in few
// batches. Of several names for one address each has ports of its own, and so has
// each class where a target returns no SSID: sessions would be the same else.
// With rotation they come in groups, which are paths of their own.
func (p *resolvedPlan) portsOf(ring []uint16, t *probe.Target, class, name int) [][]uint16 {
	from := name * p.Count * len(p.Classes)
	if !t.SSID {
		from += class * p.Count
	}
	if count := min(p.Count, len(ring)-from); count > 0 {
		group, _ := p.group()
		return rotate(ring, from, count, group, p.step)
	}
	all := p.Ports(from + p.Count)
	return [][]uint16{all[min(from, len(all)):]}
}

// reschedule orders flows by socket, so that those due together can leave in one
// batch, and a target's flows are spread over the interval.
func (l *loop) reschedule() {
	n := 0
	for _, p := range l.paths {
		n += len(p.flows)
	}
	flows := make([]*flow, 0, n)
	for _, p := range l.paths {
		for i := range p.flows {
			flows = append(flows, &p.flows[i])
		}
	}
	slices.SortFunc(flows, func(a, b *flow) int {
		return cmp.Or(cmp.Compare(a.sock.port, b.sock.port), cmp.Compare(a.sock.id, b.sock.id),
			cmp.Compare(a.path.key.target, b.path.key.target), cmp.Compare(a.path.key.ssid, b.path.key.ssid),
			a.path.key.addr.Compare(b.path.key.addr), cmp.Compare(a.index, b.index))
	})
	_, now := l.clock.Read()
	l.schedule.restart(flows, now)
	l.schedule.settled = l.schedule.at
	ofTarget, largest := map[string]int{}, 0
	for _, f := range flows {
		name := f.path.key.target
		ofTarget[name]++
		largest = max(largest, ofTarget[name])
	}
	l.schedule.cap(l.caps[0], l.caps[1], largest)
}

// forget removes a path that is gone, and the sockets that only it used.
func (l *loop) forget(p *path) {
	for i := range p.flows {
		f := &p.flows[i]
		l.unlink(f)
		l.delist(f)
		if f.sock.flows--; f.sock.flows == 0 {
			delete(l.sockets, f.sock.key)
			delete(l.byFD, int32(f.sock.fd))
			l.closeSocket(f.sock)
		}
	}
}

// link makes f the flow that replies are looked up for. One that is gone from
// the plan and had the same session comes after it, for as long as it waits.
func (l *loop) link(f *flow) {
	k := f.mapKey()
	if older := l.byKey.find(k); older != nil {
		l.older[f] = older
	}
	l.byKey.put(f)
}

func (l *loop) unlink(f *flow) {
	k := f.mapKey()
	if l.byKey.find(k) == f {
		if older := l.older[f]; older != nil {
			l.byKey.put(older)
		} else {
			l.byKey.remove(k)
		}
		delete(l.older, f)
		return
	}
	for at := l.byKey.find(k); at != nil; at = l.older[at] {
		if l.older[at] != f {
			continue
		}
		if older := l.older[f]; older != nil {
			l.older[at] = older
		} else {
			delete(l.older, at)
		}
		delete(l.older, f)
		return
	}
}
