package collector

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A resolvedPlan is a Plan with an address for each target, made outside the loop.
type resolvedPlan struct {
	Plan
	endpoints []endpoint
	stamp.ErrorEstimate
	wire     stamp.Clock // how T1 is written
	complete bool        // names were asked for, not only literal addresses taken
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
	templates := map[templateKey]*stamp.Template{}
	changed := l.schedule.flows == nil
	wanted := make(map[pathKey]*path, len(p.endpoints)*len(p.Classes))
	for _, e := range p.endpoints {
		for i, class := range p.Classes {
			ports := p.portsOf(e.target, i)
			key := p.keyOf(e, class, ports)
			if old := l.paths[key]; old != nil {
				old.target, old.route, old.order = e.target, e.route, len(wanted)
				wanted[key] = old
				continue
			}
			made, err := l.newPath(p, e, i, ports, templates)
			if err != nil {
				l.log.Error("target not probed", "target", e.target.Name, "class", class.Name, "error", err)
				continue
			}
			made.order = len(wanted)
			wanted[key] = made
			changed = true
		}
	}
	for key, old := range l.paths {
		if wanted[key] == nil {
			l.retire(old)
			changed = true
		}
	}
	l.paths = wanted
	for _, path := range wanted {
		path.probe.SetErrorEstimate(p.ErrorEstimate)
	}
	if changed { // or else every flow keeps its phase
		l.reschedule()
	}
}

// retire takes a path out of the schedule; replies to what it sent still count.
func (l *loop) retire(p *path) {
	p.gone = true
	for i := range p.flows {
		l.left -= p.flows[i].left
		p.flows[i].left = 0
	}
	l.retiring = append(l.retiring, p)
}

// portsOf: where a target returns no SSID, each class has source ports of its own.
func (p *resolvedPlan) portsOf(t *probe.Target, class int) []uint16 {
	if t.SSID {
		return p.Ports(t.Name, p.Count)
	}
	return p.Ports(t.Name, p.Count*len(p.Classes))[class*p.Count:][:p.Count]
}

func (p *resolvedPlan) keyOf(e endpoint, class probe.Class, ports []uint16) pathKey {
	return pathKey{
		target: e.target.Name, class: class, addr: e.addr, tlv: e.target.TLV, ssid: e.target.SSID,
		key: string(e.target.Key), size: p.Size, ports: fmt.Sprint(ports),
	}
}

// templateKey is what probes have in common, whatever their target.
type templateKey struct {
	ssid uint16
	dscp uint8
	tlv  bool
	size int
	key  string
}

func (l *loop) newPath(p *resolvedPlan, e endpoint, class int, ports []uint16, templates map[templateKey]*stamp.Template) (*path, error) {
	c := p.Classes[class]
	path := &path{key: p.keyOf(e, c, ports), target: e.target, route: e.route}
	path.mark = sock.Outgoing{TOS: c.DSCP << 2, TTL: 255}
	if e.target.SSID {
		path.ssid = uint16(class + 1)
	}
	t, auth, err := templateOf(p, e.target, path.ssid, c.DSCP, templates)
	if err != nil {
		return nil, err
	}
	path.probe, path.auth = t, auth
	l.anyAuth = l.anyAuth || auth != nil
	v6 := e.addr.Addr().Is6()
	path.flows = make([]flow, len(ports))
	// A probe is held until Late after it was sent, and then until the sockets were read.
	slots := int((l.late+2*int64(drainEvery))/l.schedule.interval) + 2
	if l.counted {
		slots = min(slots, l.count)
	}
	ring := make([]slot, slots*len(ports)) // one allocation a path
	for i := range path.flows {
		key := socketKey{v6: v6, port: ports[i]}
		if ports[i] == 0 {
			key.index = i
			if !e.target.SSID {
				key.index += class * p.Count
			}
		}
		s := l.sockets[key]
		if s == nil {
			s = l.openSocket(key)
			l.sockets[key] = s
		}
		s.flows++
		f := &path.flows[i]
		*f = flow{path: path, sock: s, dest: sock.NewSockaddr(e.addr), index: int32(i), lastRTT: -1, marks: noMarks,
			slots: ring[i*slots : (i+1)*slots : (i+1)*slots], left: l.count}
		l.left += l.count
		k := f.mapKey()
		if other := l.byKey[k]; other != nil && !other.path.gone {
			l.log.Warn("two targets share an address and port", "target", e.target.Name, "other", other.path.target.Name)
		}
		l.byKey[k] = f
	}
	return path, nil
}

func templateOf(p *resolvedPlan, t *probe.Target, ssid uint16, dscp uint8, all map[templateKey]*stamp.Template) (*stamp.Template, *stamp.Authenticator, error) {
	o := stamp.ProbeOptions{SSID: ssid, DSCP1: dscp, NoTLV: !t.TLV, Size: p.Size, ErrorEstimate: p.ErrorEstimate}
	if t.Key != nil {
		auth, err := stamp.NewAuthenticator(t.Key)
		if err != nil {
			return nil, nil, fmt.Errorf("authenticate probes: %w", err)
		}
		o.Mode, o.Auth = stamp.Authenticated, auth
	}
	key := templateKey{ssid: ssid, dscp: dscp, tlv: t.TLV, size: p.Size, key: string(t.Key)}
	if made := all[key]; made != nil {
		return made, o.Auth, nil
	}
	made, err := stamp.NewTemplate(o)
	if err != nil {
		return nil, nil, fmt.Errorf("build probe: %w", err)
	}
	all[key] = made
	return made, o.Auth, nil
}

func (f *flow) mapKey() flowKey {
	a := f.path.key.addr
	return flowKey{addr: a.Addr().As16(), port: a.Port(), ssid: f.path.ssid, sock: f.sock.id}
}

// reschedule orders flows by socket, so that those due together can leave in one
// batch, and a target's flows are spread over the interval.
func (l *loop) reschedule() {
	var flows []*flow
	for _, p := range l.paths {
		for i := range p.flows {
			flows = append(flows, &p.flows[i])
		}
	}
	slices.SortFunc(flows, func(a, b *flow) int {
		return cmp.Or(cmp.Compare(a.sock.port, b.sock.port), cmp.Compare(a.sock.id, b.sock.id),
			cmp.Compare(a.path.key.target, b.path.key.target), cmp.Compare(a.path.ssid, b.path.ssid),
			a.path.key.addr.Compare(b.path.key.addr), cmp.Compare(a.index, b.index))
	})
	if flows == nil {
		flows = []*flow{}
	}
	_, now := l.clock.Read()
	l.schedule.restart(flows, now)
}

// forget removes a path that is gone, and the sockets that only it used.
func (l *loop) forget(p *path) {
	for i := range p.flows {
		f := &p.flows[i]
		if k := f.mapKey(); l.byKey[k] == f {
			delete(l.byKey, k)
		}
		if f.sock.flows--; f.sock.flows == 0 {
			delete(l.sockets, f.sock.key)
			delete(l.byFD, int32(f.sock.fd))
			f.sock.close()
		}
	}
}
