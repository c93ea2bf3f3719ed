package collector

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// templateKey is what probes have in common, whatever their target.
type templateKey struct {
	ssid uint16
	dscp uint8
	tlv  bool
	size int
	key  string
}

func (l *loop) newPath(p *resolvedPlan, w *plannedPath, templates map[templateKey]*stamp.Template) (*path, error) {
	class := w.key.class
	if len(w.ports) == 0 {
		return nil, errors.New("no source port is left for it: other targets have its address")
	}
	slots := inFlight(l.late, l.schedule.interval)
	if l.counted {
		slots = min(slots, l.count)
	}
	t, auth, err := templateOf(w.target, w.key.ssid, class.DSCP, p.Size, templates)
	if err != nil {
		return nil, err
	}
	var swept *sweep
	if len(p.Sizes) > 0 {
		if swept, auth, err = newSweep(p, w, slots, templates); err != nil {
			return nil, err
		}
	}
	made := &path{
		key: w.key, session: flowKey{addr: w.addr.Addr().As16(), port: w.addr.Port(), ssid: w.key.ssid}, target: w.target, route: w.route, probe: t, sweep: swept, auth: auth, clock: probe.ClockSocket,
		mark: sock.Outgoing{TOS: class.DSCP << 2}, dest: sock.NewSockaddr(w.addr), flows: make([]flow, len(w.ports)),
		inFlight: uint32(slots),
	}
	if slots == 1 {
		made.lent = make([]*slot, len(w.ports))
	} else {
		made.slots = make([]slot, slots*len(w.ports))
	}
	l.anyAuth = l.anyAuth || auth != nil
	for i := range made.flows {
		made.flows[i] = flow{path: made, index: uint16(i), row: -1, lastRTT: -1, marks: noMarks, stamped: w.route.stamps}
	}
	if l.oneWay {
		made.transits = make([]transit, slots*len(w.ports))
	}
	for i := range made.flows {
		if err := l.bind(&made.flows[i], p, w); err != nil {
			for j := range i {
				l.left -= int(made.flows[j].left)
				l.unlink(&made.flows[j])
				made.flows[j].sock.flows--
			}
			return nil, err
		}
	}
	made.mark.TxStamp = l.kernel != nil
	if a := sourceOf(l.sources, true); w.addr.Addr().Is6() && !a.IsLinkLocalUnicast() {
		// Of IPv6, a bound socket goes on sending from an address that is gone; one that is named is looked for.
		made.mark.Source = a
	}
	l.enlist(made)
	return made, nil
}

// inFlight: a probe is held until late after it was sent, and then until the sockets
// were read; one more may be late itself. Where the interval is more than twice as
// long, one is forgotten well before the next, and half a million flows save a slot each.
// A power of two, so that numbers go on where they wrap (2^32).
func inFlight(late, interval int64) int {
	held := late + 2*int64(drainEvery)
	if interval > 2*held {
		return 1
	}
	return nextPowerOfTwo(int(held/interval) + 2)
}

func nextPowerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

// InFlight is how many probes of a flow are remembered at once, at the most.
func InFlight(t probe.Timing) int { return inFlight(int64(t.Late), int64(t.Interval)) }

// bind gives a flow its source port. Two names for one address and port may not
// share a session: where the kernel chooses ports, the second gets others here,
// and in portsOf where they are given.
func (l *loop) bind(f *flow, p *resolvedPlan, w *plannedPath) error {
	i := int(f.index)
	key := socketKey{v6: w.addr.Addr().Is6(), port: w.ports[i]}
	if key.port == 0 {
		key.index = i
		if !w.target.SSID {
			key.index += w.class * p.Count
		}
	}
	for {
		if f.sock = l.sockets[key]; f.sock == nil {
			f.sock = l.openSocket(key)
			l.sockets[key] = f.sock
		}
		other := l.byKey.find(f.mapKey())
		if other == nil || l.isRetiring(other.path) {
			break
		}
		if key.port != 0 {
			return fmt.Errorf("it has the address and port of target %s", other.path.target.Name)
		}
		key.index += p.Count * len(p.Classes)
	}
	f.sock.flows++
	f.left = int32(l.count)
	l.left += l.count
	l.link(f)
	return nil
}

func (l *loop) isRetiring(p *path) bool { return slices.Contains(l.retiring, p) }

func templateOf(t *probe.Target, ssid uint16, dscp uint8, size int, all map[templateKey]*stamp.Template) (*stamp.Template, *stamp.Authenticator, error) {
	o := stamp.ProbeOptions{SSID: ssid, DSCP1: dscp, NoTLV: !t.TLV, Size: size}
	if t.Key != nil {
		auth, err := stamp.NewAuthenticator(t.Key)
		if err != nil {
			return nil, nil, fmt.Errorf("authenticate probes: %w", err)
		}
		o.Mode, o.Auth = stamp.Authenticated, auth
	}
	key := templateKey{ssid: ssid, dscp: dscp, tlv: t.TLV, size: size, key: string(t.Key)}
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
