//go:build linux

package loader

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A site is an interface with our programs, or one that was left to the sockets.
type site struct {
	*attachment
	egress   egress // nil: probes that leave are not stamped
	trial    *trial
	left     time.Time // when it last left a step
	lostAt   time.Time // when somebody last took its program off
	failures failures  // to transmit, when they were last looked at
	answered uint64    // by the programs, likewise
}

func (d *Datapath) sorted() []*site {
	return slices.SortedFunc(maps.Values(d.sites), func(a, b *site) int {
		return cmp.Compare(a.Interface.Index, b.Interface.Index)
	})
}

// reconcile makes what is attached what should be, whatever happened: interfaces
// that came or went, programs that somebody took off, addresses, routes.
func (d *Datapath) reconcile(ctx context.Context) error {
	defer d.show()
	wanted, all, err := d.wanted()
	errs := []error{err, d.refreshAddresses()}
	for _, s := range d.sorted() {
		p, ok := wanted[s.Interface.Index]
		switch {
		case ok:
			s.Interface = p.Interface
			errs = append(errs, d.describe(p.Interface), d.recover(ctx, s))
			if d.sites[s.Interface.Index] == s {
				errs = append(errs, d.recoverEgress(s))
			}
		case all || isGone(s.Interface.Index):
			errs = append(errs, d.drop(s))
		}
	}
	if all {
		errs = append(errs, d.dropOthers(wanted))
	}
	for _, index := range slices.Sorted(maps.Keys(wanted)) {
		if d.sites[index] == nil {
			errs = append(errs, d.add(ctx, wanted[index]))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// wanted are the places for the interfaces that were named, or found by the
// routes, and whether those are all: not if something could not be seen just now.
// One that cannot be had does not keep the others from it.
func (d *Datapath) wanted() (found map[int]Place, all bool, err error) {
	ifcs, errs := d.interfaces()
	found, d.members = map[int]Place{}, map[int][]int{}
	for _, ifc := range ifcs {
		there, err := places(ifc)
		if err != nil {
			errs = append(errs, err)
		}
		for _, p := range there {
			found[p.Interface.Index] = p
			if p.Interface.Index != ifc.Index {
				d.members[ifc.Index] = append(d.members[ifc.Index], p.Interface.Index)
			}
		}
	}
	if len(ifcs) == 0 && len(errs) == 0 && d.notices.isNew("interfaces", "none") {
		d.options.Log.Warn("no interface to reflect on in the kernel: no default route, no route to a target, and none is named")
	}
	if len(ifcs) > 0 {
		d.notices.isNew("interfaces", "")
	}
	blind := slices.ContainsFunc(errs, func(err error) bool {
		return !errors.Is(err, ErrNoInterface) && !errors.Is(err, ErrNoPlace)
	})
	return found, !blind, errors.Join(errs...)
}

func (d *Datapath) interfaces() (found []Interface, errs []error) {
	if len(d.options.Interfaces) == 0 {
		d.mu.Lock()
		targets := d.targets
		d.mu.Unlock()
		found, err := defaultInterfaces(targets, d.options.Device)
		if err != nil {
			errs = append(errs, err)
		}
		return found, errs
	}
	for _, name := range d.options.Interfaces {
		ifc, err := d.configured(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, ifc)
	}
	return found, errs
}

// configured is the interface that was named. One that is renamed while it has our programs keeps them: until a
// restart it is known by its index, unless another takes its name.
func (d *Datapath) configured(name string) (Interface, error) {
	ifc, err := interfaceByName(name)
	if err == nil {
		d.named[name] = ifc
		return ifc, nil
	}
	was, known := d.named[name]
	if !known || !errors.Is(err, ErrNoInterface) {
		return ifc, err
	}
	now, gone := interfaceByIndex(was.Index)
	if gone != nil || !bytes.Equal(now.MAC, was.MAC) {
		return ifc, err
	}
	if d.notices.isNew("name of "+name, now.Name) {
		d.options.Log.Warn("interface has another name now: datapath.interfaces has to name it so before the next start",
			"configured", name, "interface", now.Name)
	}
	return now, nil
}

// describe tells the programs what is ours at an interface.
func (d *Datapath) describe(ifc Interface) error {
	macs, err := macsAt(ifc)
	if err != nil {
		return err
	}
	return d.object.setInterface(ifc.Index, macs, ifc.Loopback)
}

// add puts the programs on an interface.
func (d *Datapath) add(ctx context.Context, p Place) error {
	if err := d.describe(p.Interface); err != nil {
		return err
	}
	before := d.answers.lately()
	a, err := attach(ctx, p.Interface, d.options.Mode, d.object.programs(d.options.Mode), attachOptions{
		pin: pinFolder(d.options.Pin), resetLink: d.options.ResetLink, prove: d.prove,
	})
	if err != nil {
		return errors.Join(err, d.object.removeInterface(p.Interface.Index))
	}
	s := &site{attachment: a}
	d.sites[p.Interface.Index] = s
	d.begin(s, before)
	d.stampEgress(s)
	args := []any{"interface", p.Interface.Name, "mode", a.Step.String()}
	if a.Flavor != "" {
		args = append(args, "by", a.Flavor)
	}
	if p.Why != "" {
		args = append(args, "place", p.Why)
	}
	for _, r := range a.Reasons {
		args = append(args, "not_"+r.Step.String(), r.Why)
	}
	d.options.Log.Info("reflecting in the kernel", args...)
	return nil
}

func (d *Datapath) prove(s Step) error {
	return d.object.prove(kindAt[s])
}

// tellAhead says once of each program that stands before ours at TC: it may keep
// what is for us, and is not ours to move.
func (d *Datapath) tellAhead(s *site) error {
	owners, err := s.ahead()
	if err != nil {
		return err
	}
	text := ""
	if len(owners) > 0 {
		text = fmt.Sprint(owners)
	}
	if d.notices.isNew("programs before ours on "+s.Interface.Name, text) {
		d.options.Log.Warn("programs stand before ours", "interface", s.Interface.Name, "owners", text)
	}
	return nil
}

// recover puts a program back that somebody took off. When that happens again
// within the hour, its step is left, whatever was left before: nothing is there.
func (d *Datapath) recover(ctx context.Context, s *site) error {
	err := s.lost()
	if err == nil {
		return d.tellAhead(s)
	}
	if !errors.Is(err, ErrLost) {
		return err
	}
	d.options.Log.Warn("program lost", "interface", s.Interface.Name, "mode", s.Step.String(), "error", err)
	if before := s.lostAt; before.IsZero() || time.Since(before) >= leaveEvery {
		s.lostAt = time.Now()
		again, err := attach(ctx, s.Interface, d.options.Mode, d.object.programs(d.options.Mode), s.options)
		if err != nil {
			delete(d.sites, s.Interface.Index)
			return errors.Join(err, s.detachEgress(), s.leave())
		}
		_ = s.leave() // of what is not attached any more
		s.attachment = again
		d.options.Log.Info("reflecting in the kernel again", "interface", s.Interface.Name, "mode", s.Step.String())
		return nil
	}
	return d.leaveStep(ctx, s, fmt.Sprintf("its program was taken off twice within an hour: %v", err))
}
