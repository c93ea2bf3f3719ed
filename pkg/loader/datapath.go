//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say what of the reflector runs in the kernel, and on which interfaces.
type Options struct {
	Pin        string        // folder in a bpffs, for maps and links
	Mode       Mode          // not ModeSocket: that needs nothing of this
	Interfaces []string      // empty: those of the default routes and of the routes to the targets
	Targets    []netip.Addr  // of the probes of this host
	ResetLink  bool          // what resets a link is allowed
	Lease      time.Duration // without a sign of life for that long, the programs pass everything
	Policy     Policy
	Local      func(netip.Addr) bool // which of this host's addresses are answered from; nil: all
	Clock      func() ClockState     // asked every second; WallMinusMono is filled in here
	// Answers is how many replies to its own probes this host has received so far;
	// nil: it does not probe. That none comes any more just after an attachment
	// speaks against it.
	Answers func() uint64
	Log     *slog.Logger
}

// A Datapath is the reflector in the kernel, on some interfaces of the network
// namespace in which it was started. Its methods are safe for concurrent use.
type Datapath struct {
	options  Options
	object   *object
	folder   *os.File // locked: no other agent uses the pins
	follower *follower
	woken    chan struct{} // something happened to an interface

	mu      sync.Mutex // protects the fields below
	policy  Policy
	targets []netip.Addr
	sites   map[int]*site     // by interface index
	told    map[string]string // what was logged last of what cannot be had, by interface
	answers history
}

// Start loads the programs, adopts what an earlier process left in the pin
// folder, and attaches to one interface after the other. In a mode that names a
// step, an interface on which it cannot be had is an error.
func Start(ctx context.Context, o Options) (_ *Datapath, err error) {
	d := &Datapath{
		options: o, policy: o.Policy, targets: o.Targets,
		sites: map[int]*site{}, told: map[string]string{}, woken: make(chan struct{}, 1),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.folder, err = pinFolder(o.Pin).hold(); err != nil {
		return nil, err
	}
	if d.object, err = load(o.Pin, o.Log); err != nil {
		return nil, err
	}
	if err = errors.Join(d.object.setPolicy(&o.Policy), d.renew()); err != nil {
		return nil, err
	}
	// From here on nothing that happens to an interface is missed.
	if d.follower, err = follow(); err != nil {
		return nil, err
	}
	if err = d.reconcile(ctx); err != nil && o.Mode != ModeAuto {
		return nil, err
	}
	return d, nil
}

// Update replaces the policy and the targets; sessions go on.
func (d *Datapath) Update(p Policy, targets []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.object.setPolicy(&p); err != nil {
		return err
	}
	d.policy, d.targets = p, targets
	d.wake()
	return nil
}

// Counters says how all packets ended that the programs have seen.
func (d *Datapath) Counters() (Counters, error) { return d.object.counters() }

// InterfaceState is what was reached on one interface.
type InterfaceState struct {
	Name     string
	Step     Step
	Flavor   string // xdp-link, tcx or clsact; empty where the sockets do it
	Reasons  []StepReason
	Counters InterfaceCounters
}

// Interfaces lists the interfaces, those too that are left to the sockets.
func (d *Datapath) Interfaces() []InterfaceState {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]InterfaceState, 0, len(d.sites))
	for _, p := range d.sorted() {
		s := InterfaceState{Name: p.Interface.Name, Step: p.Step, Flavor: p.Flavor, Reasons: slices.Clone(p.Reasons)}
		s.Counters, _ = d.object.interfaceCounters(p.Interface.Index) // an error if the interface has just gone
		out = append(out, s)
	}
	return out
}

// Close ends the datapath. Programs go where that disturbs nothing. Where it would
// take the link down they stay and pass everything, until the next start arms
// them again.
func (d *Datapath) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	left := false
	if d.object != nil {
		errs = append(errs, d.object.setLease(0))
	}
	for _, p := range d.sorted() {
		if what, yes := p.disturbs(); yes {
			d.options.Log.Info("programs stay on the interface and pass everything", "interface", p.Interface.Name, "detaching", what)
			errs = append(errs, p.leave())
			left = true
			continue
		}
		errs = append(errs, p.detach())
	}
	clear(d.sites)
	if d.follower != nil {
		d.follower.close()
	}
	if d.object != nil {
		errs = append(errs, d.object.Close())
	}
	if d.folder != nil {
		if !left {
			_, err := pinFolder(d.options.Pin).removePins()
			errs = append(errs, err)
		}
		errs = append(errs, d.folder.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end kernel datapath: %w", err)
	}
	return nil
}

// Detach takes everything of ours off this host: programs, links, filters, maps.
// It says what it removed.
func Detach(pin string) ([]string, error) { return detachAll(pin) }
