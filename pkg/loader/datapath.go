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
	Device     string        // by which they leave; "": by the routes
	Unresolved bool          // names of targets have no address yet: interfaces may come with Update
	ResetLink  bool          // what resets a link is allowed
	Lease      time.Duration // without a sign of life for that long, the programs pass everything
	Policy     Policy
	Local      func(netip.Addr) bool // which of this host's addresses are answered from; nil: all
	Clock      func() ClockState     // asked every second; WallMinusMono is filled in here
	// Answers is how many replies to its own probes this host has received so far;
	// nil: it does not probe. That none comes any more just after an attachment
	// speaks against it.
	Answers func() uint64
	Probes  ProbeOptions
	Log     *slog.Logger
}

// A Datapath is the reflector in the kernel, on some interfaces of the network
// namespace in which it was started. Its methods are safe for concurrent use, but
// that Close comes after the end of Run.
type Datapath struct {
	options  Options
	object   *object
	folder   *os.File // locked: no other agent uses the pins
	follower *follower
	woken    chan struct{} // something happened to an interface
	notices  notices
	probes   *Probes // nil: nothing is measured in the kernel

	// Owned by Start, then by keep, then by Close: to attach can take its time.
	sites   map[int]*site        // by interface index
	named   map[string]Interface // by their configured names, as they were last found by them
	members map[int][]int        // of interfaces whose programs are on those
	answers history
	swept   bool // nothing of an earlier process is left elsewhere

	mu      sync.Mutex // protects the fields below and the end of the object; never held for long
	targets []netip.Addr
	old     bool // the policy that the programs have does not hold any more
	shown   []InterfaceState
}

// Start loads the programs, adopts what an earlier process left in the pin
// folder, and attaches to one interface after the other. In a mode that names a
// step, an interface on which it cannot be had is an error, and so is it to find none.
// What is missed later is only told. When ctx ends, so does Start, with its error: what
// is pinned by then passes everything, and is for the next start.
func Start(ctx context.Context, o Options) (_ *Datapath, err error) {
	d := &Datapath{
		options: o, targets: o.Targets, sites: map[int]*site{}, named: map[string]Interface{}, woken: make(chan struct{}, 1), notices: notices{log: o.Log},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.folder, err = pinFolder(o.Pin).hold(); err != nil {
		return nil, err
	}
	if d.object, err = load(o.Pin, o.Mode, o.Probes, o.Log); err != nil {
		return nil, err
	}
	if err = errors.Join(ctx.Err(), d.object.setPolicy(&o.Policy), d.renew()); err != nil {
		return nil, err
	}
	if err = d.beginProbes(); err != nil {
		return nil, err
	}
	// From here on nothing that happens to an interface is missed.
	if d.follower, err = follow(); err != nil {
		return nil, err
	}
	if err = d.reconcile(ctx); ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	if o.Mode != ModeAuto {
		if err == nil && len(d.sites) == 0 && !o.Unresolved {
			err = noInterfaceFor(o.Mode)
		}
		if err != nil {
			return nil, err
		}
	}
	d.notices.tell("follow interfaces", err)
	return d, nil
}

func noInterfaceFor(m Mode) error {
	return fmt.Errorf("mode %s was asked for, and there is no interface for it: no default route, no route to a target, and none is named: %w",
		m, ErrNoInterface)
}

// Update replaces the policy and the targets; sessions go on. If the policy cannot
// be had in the kernel, the programs pass everything until one can.
func (d *Datapath) Update(p Policy, targets []netip.Addr) error {
	d.mu.Lock()
	err := d.object.setPolicy(&p)
	d.old, d.targets = err != nil, targets
	d.mu.Unlock()
	d.wake()
	if err = errors.Join(err, d.renew()); err != nil {
		return fmt.Errorf("update kernel datapath: %w", err)
	}
	return nil
}

// Counters says how all packets ended that the programs have seen.
func (d *Datapath) Counters() (Counters, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.object.counters()
}

// InterfaceState is what was reached on one interface.
type InterfaceState struct {
	Name     string
	Step     Step
	Flavor   string // xdp-link, tcx or clsact; empty where the sockets do it
	Reasons  []StepReason
	Counters InterfaceCounters

	index int
}

// Interfaces lists the interfaces, those too that are left to the sockets.
func (d *Datapath) Interfaces() []InterfaceState {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.shown)
	for i := range out {
		out[i].Counters, _ = d.object.interfaceCounters(out[i].index) // an error if the interface has just gone
	}
	return out
}

// show is what Interfaces says from now on.
func (d *Datapath) show() {
	var now []InterfaceState
	for _, s := range d.sorted() {
		now = append(now, InterfaceState{
			Name: s.Interface.Name, Step: s.Step, Flavor: s.Flavor, Reasons: slices.Clone(s.Reasons), index: s.Interface.Index,
		})
	}
	d.mu.Lock()
	d.shown = now
	d.mu.Unlock()
	d.coverProbes()
}

// Close ends the datapath. Programs go where that disturbs nothing. Where it would
// take the link down they stay and pass everything, until the next start arms
// them again.
func (d *Datapath) Close() error {
	var errs []error
	if d.object != nil {
		errs = append(errs, d.object.setLease(0))
	}
	for _, s := range d.sorted() {
		errs = append(errs, s.detachEgress())
		if what, yes := s.disturbs(); yes {
			d.options.Log.Info("programs stay on the interface and pass everything", "interface", s.Interface.Name, "detaching", what)
			errs = append(errs, s.leave())
			continue
		}
		errs = append(errs, s.detach())
	}
	clear(d.sites)
	d.show()
	if d.follower != nil {
		d.follower.close()
	}
	errs = append(errs, d.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end kernel datapath: %w", err)
	}
	return nil
}

// release gives back the maps and the folder. The pins go too, unless a program
// hangs on one: without its pin it would come off its interface.
func (d *Datapath) release() error {
	var errs []error
	if d.probes != nil {
		errs = append(errs, d.probes.close())
	}
	if d.object != nil {
		d.mu.Lock()
		errs = append(errs, d.object.Close())
		d.mu.Unlock()
	}
	if d.folder != nil {
		left, err := pinFolder(d.options.Pin).links()
		if errs = append(errs, err, leaveAll(left)); err == nil && len(left) == 0 {
			_, err := pinFolder(d.options.Pin).removePins()
			errs = append(errs, err)
		}
		errs = append(errs, d.folder.Close())
	}
	return errors.Join(errs...)
}

// Detach takes everything of ours off this host: programs, links, filters, maps.
// It says what it removed.
func Detach(pin string) ([]string, error) { return detachAll(pin) }
