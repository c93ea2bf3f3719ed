package config

import "fmt"

// room is what the file, and the lists read so far, leave to more targets.
type room struct {
	d      *decoder
	names  map[string]string // list by target
	places map[place]string  // target by where it is
	flows  int
	listed int
}

func newRoom(d *decoder) *room {
	r := &room{d: d, names: map[string]string{}, places: map[place]string{}}
	for i := range d.cfg.Targets {
		r.take([]entry{{d.cfg.Targets[i], d.file}})
	}
	r.listed = 0
	return r
}

func (r *room) take(es []entry) {
	for i := range es {
		r.names[es[i].Name], r.places[placeOf(&es[i].Target)] = es[i].list, es[i].Name
		r.flows += r.d.cfg.Probing.flows(&es[i].Target)
	}
	r.listed += len(es)
}

func (r *room) release(es []entry) {
	for i := range es {
		delete(r.names, es[i].Name)
		delete(r.places, placeOf(&es[i].Target))
		r.flows -= r.d.cfg.Probing.flows(&es[i].Target)
	}
	r.listed -= len(es)
}

// unfit says why an entry of a list is not probed, "" if it is, and what may keep it from being probed.
func (r *room) unfit(e *entry) (why, doubt string) {
	c, t := r.d.cfg, &e.Target
	p := &c.Probing
	n := p.flows(t)
	if list, again := r.names[t.Name]; again {
		return "given already in " + show(list), ""
	}
	if name, again := r.places[placeOf(t)]; again {
		return fmt.Sprintf("%s port %d is the target %s already", show(t.Address), t.Port, show(name)), ""
	}
	switch {
	case r.listed >= maxListed:
		return fmt.Sprintf("more than %d targets in lists", maxListed), ""
	case !fits(n, p.Timing.Interval, p.MaxRatePerTarget):
		return "probing.max_rate_per_target has no room for its flows", ""
	case !fits(r.flows+n, p.Timing.Interval, p.MaxRate):
		return "probing.max_rate has no room for it", ""
	}
	judged := func(warn bool, text string, _ ...string) {
		switch {
		case warn:
			doubt = text
		case why == "":
			why = text
		}
	}
	c.checkPorts(judged, t)
	c.checkRotation(judged, p.portsOf(t))
	if a := literal(t.Address); a.IsValid() {
		c.checkLiteral(r.d.env, judged, a, nil)
	}
	return why, doubt
}
