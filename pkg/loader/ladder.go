//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// attachOptions are how the programs of one interface are attached.
type attachOptions struct {
	pin       pinFolder        // empty: nothing outlives the process
	resetLink bool             // the operator allows what takes the link down
	prove     func(Step) error // says whether the program of a step, just attached, does its work; may be nil
	noTCX     bool             // clsact although the kernel has tcx
	carrier   time.Duration    // how long a link may take to come back; 0: carrierWait
}

// attachment is what was reached on one interface. It is not safe for concurrent use.
type attachment struct {
	Interface Interface
	Mode      Mode
	Step      Step
	Flavor    string       // xdp-link, tcx, clsact; empty at StepSocket
	Reasons   []StepReason // why each better step was not taken, or was left

	programs Programs
	options  attachOptions
	driver   driver
	hook     hook   // nil at StepSocket
	rest     []hook // natively attached, answering nothing: to take them off would take the link down
}

// attach puts the programs of one interface on the best step that the mode allows, adopting what an earlier process
// left there. It waits for the carrier where a driver lets it go, so whoever has several interfaces must do one after
// the other. In a mode that asks for one step a failure is an error, and nothing of ours is left.
func attach(ctx context.Context, ifc Interface, mode Mode, p Programs, o attachOptions) (*attachment, error) {
	return attachBy(ctx, driverOf(ifc), ifc, mode, p, o)
}

func attachBy(ctx context.Context, d driver, ifc Interface, mode Mode, p Programs, o attachOptions) (*attachment, error) {
	if o.carrier == 0 {
		o.carrier = carrierWait
	}
	a := &attachment{Interface: ifc, Mode: mode, programs: p, options: o, driver: d}
	ours, err := a.adopt()
	if err != nil {
		return a.nothing(err)
	}
	if err := a.climb(ctx, mode.steps(), ours); err != nil {
		return nil, errors.Join(err, a.leave())
	}
	return a, nil
}

// nothing is what is reached where not even what is there can be read: sockets, if the mode allows them.
func (a *attachment) nothing(why error) (*attachment, error) {
	if errors.Is(why, ErrNoInterface) {
		return nil, fmt.Errorf("attach to %s: %w", a.Interface.Name, why)
	}
	for _, s := range a.Mode.steps() {
		if s == StepSocket {
			a.Step = s
			return a, nil
		}
		a.Reasons = append(a.Reasons, StepReason{s, why.Error()})
	}
	return nil, fmt.Errorf("attach to %s in mode %s: %w: %w", a.Interface.Name, a.Mode, ErrStep, why)
}

// adopt finds what an earlier process left on the interface, by step.
func (a *attachment) adopt() (map[Step]hook, error) {
	if err := a.options.pin.prepare(); err != nil {
		return nil, err
	}
	ours, err := a.options.pin.adopt(a.Interface)
	if err != nil {
		return nil, err
	}
	filter, err := adoptClsact(a.Interface, a.options.pin)
	switch {
	case err != nil || filter == nil:
		return ours, err
	case ours[StepTC] != nil:
		return ours, filter.detach()
	}
	ours[StepTC] = filter
	return ours, nil
}

// climb tries the steps in turn. Hooks of ours that are on none of them when it ends are taken off.
func (a *attachment) climb(ctx context.Context, steps []Step, ours map[Step]hook) error {
	a.Step, a.Flavor, a.hook = 0, "", nil
	var why error
	for _, s := range steps {
		if s == StepSocket {
			a.Step = s
			break
		}
		why = a.take(ctx, s, ours)
		if why == nil {
			break
		}
		if _, gone := interfaceByIndex(a.Interface.Index); errors.Is(gone, ErrNoInterface) {
			why = gone
		}
		if errors.Is(why, ErrNoInterface) || ctx.Err() != nil {
			break // no other step can be had either
		}
		a.Reasons = append(a.Reasons, StepReason{s, why.Error()})
	}
	var errs []error
	for s, h := range ours {
		if ctx.Err() != nil {
			errs = append(errs, h.leave()) // an end in the middle is no reason to touch links
			continue
		}
		errs = append(errs, a.takeDown(ctx, s, h))
	}
	if a.Step != 0 {
		return errors.Join(errs...)
	}
	if !errors.Is(why, ErrNoInterface) && ctx.Err() == nil {
		why = fmt.Errorf("%w: %w", ErrStep, why)
	}
	return errors.Join(append([]error{fmt.Errorf("attach to %s in mode %s: %w", a.Interface.Name, a.Mode, why)}, errs...)...)
}

// take gets the program of one step to run and proves it, or says why not. A hook of ours that it uses, or that is
// to stay where it is, it removes from the map.
func (a *attachment) take(ctx context.Context, s Step, ours map[Step]hook) error {
	p := a.programs.at(s)
	if p == nil {
		return errors.New("there is no program for it")
	}
	h := ours[s]
	if err := a.admit(s, ours); err != nil {
		return err
	}
	if err := a.makeRoom(ctx, s, ours); err != nil {
		return err
	}
	delete(ours, s)
	var err error
	if h, err = a.put(ctx, s, p, h); err != nil {
		return a.explain(s, err)
	}
	if a.options.prove != nil {
		if err := a.options.prove(s); err != nil {
			return errors.Join(fmt.Errorf("it does not do its work: %w", err), a.takeDown(ctx, s, h))
		}
	}
	a.hook, a.Step, a.Flavor = h, s, h.flavor()
	return nil
}

// put gets the program onto the step: into the hook that is there, or a new one.
func (a *attachment) put(ctx context.Context, s Step, p *ebpf.Program, h hook) (hook, error) {
	if h != nil {
		err := a.replace(s, h, p)
		if err == nil {
			return h, nil
		}
		if errors.Is(err, ErrResetsLink) {
			a.rest = append(a.rest, h)
			return nil, err
		}
		// It cannot be exchanged, as when it was loaded for another kind of attachment: off with it.
		down := a.takeDown(ctx, s, h)
		if down != nil || len(a.rest) > 0 {
			return nil, errors.Join(err, down)
		}
	}
	if s == StepTC {
		return attachTC(a.Interface, p, a.options.pin, a.options.noTCX)
	}
	before, err := interfaceByIndex(a.Interface.Index)
	if err != nil {
		return nil, err
	}
	x, err := attachXDP(a.Interface, s, p, a.options.pin)
	if err != nil {
		return nil, err
	}
	if s == StepNative && a.driver.attach >= effectReopens && before.Carrier {
		if err := awaitCarrier(ctx, a.Interface, a.options.carrier); ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), x.leave()) // to take it off would take the link down again
		} else if err != nil {
			return nil, errors.Join(err, x.detach(), awaitCarrier(ctx, a.Interface, a.options.carrier))
		}
	}
	return x, nil
}

// replace exchanges the program in a hook. Where that alone would take the link down, the one that is there stays as
// long as it works on the same maps, be it of an earlier version.
func (a *attachment) replace(s Step, h hook, p *ebpf.Program) error {
	if s == StepNative && !a.driver.replaceFree && !a.options.resetLink && a.driver.attach > effectPauses {
		if sameMaps(h.program(), p) {
			return nil
		}
		return becausef(ErrResetsLink, "exchanging its program with driver %s %s (datapath.reset_link: true allows it)",
			a.driver.name, a.driver.attach)
	}
	return h.update(p)
}

// makeRoom takes our program off the other kind of XDP: an interface has only one of them at a time.
func (a *attachment) makeRoom(ctx context.Context, s Step, ours map[Step]hook) error {
	other := map[Step]Step{StepNative: StepGeneric, StepGeneric: StepNative}[s]
	if h := ours[other]; h != nil {
		delete(ours, other)
		if err := a.takeDown(ctx, other, h); err != nil {
			return err
		}
	}
	if s == StepGeneric && len(a.rest) > 0 {
		return becausef(ErrResetsLink, "a native program of ours is still attached, and taking it off with driver %s %s",
			a.driver.name, a.driver.attach)
	}
	return nil
}

// takeDown takes our program off a step. Where that would take the link down, one that passes everything takes its
// place instead, if that is free.
func (a *attachment) takeDown(ctx context.Context, s Step, h hook) error {
	if s != StepNative || a.driver.attach == effectNone {
		return h.detach()
	}
	if a.driver.replaceFree {
		pass, err := passProgram()
		if err != nil {
			return err
		}
		defer pass.Close()
		if err := h.update(pass); err == nil {
			a.rest = append(a.rest, h)
			return nil
		}
	}
	before, err := interfaceByIndex(a.Interface.Index)
	if err != nil {
		return errors.Join(err, h.leave())
	}
	if err := h.detach(); err != nil || !before.Carrier {
		return err
	}
	return awaitCarrier(ctx, a.Interface, a.options.carrier)
}

// stepDown leaves the step that was reached, for the reason given, and takes the next that can be had. In a mode
// that asks for one step there is none: ErrStep, and the attachment is at StepSocket.
func (a *attachment) stepDown(ctx context.Context, why string) error {
	left, h := a.Step, a.hook
	a.Reasons = append(a.Reasons, StepReason{left, why})
	steps := a.Mode.steps()
	lower := steps[slices.Index(steps, left)+1:]
	a.hook, a.Step, a.Flavor = nil, StepSocket, ""
	if h != nil {
		if err := a.takeDown(ctx, left, h); err != nil && !errors.Is(h.lost(), ErrLost) {
			return fmt.Errorf("leave step %s on %s: %w", left, a.Interface.Name, err)
		}
	}
	if len(lower) == 0 {
		return fmt.Errorf("leave step %s on %s: %s: %w", left, a.Interface.Name, why, ErrStep)
	}
	err := a.climb(ctx, lower, map[Step]hook{})
	if a.Step == 0 {
		a.Step = StepSocket
	}
	return err
}

// update exchanges the programs for others, in place.
func (a *attachment) update(p Programs) error {
	if a.hook != nil {
		next := p.at(a.Step)
		if next == nil {
			return fmt.Errorf("update step %s on %s: there is no program for it: %w", a.Step, a.Interface.Name, ErrStep)
		}
		if err := a.replace(a.Step, a.hook, next); err != nil {
			return fmt.Errorf("update step %s on %s: %w", a.Step, a.Interface.Name, err)
		}
	}
	a.programs = p
	return nil
}

// lost is nil as long as our program is where it was attached, ErrLost when it is not.
func (a *attachment) lost() error {
	if a.hook == nil {
		return nil
	}
	return a.hook.lost()
}

// ahead returns the owners of the programs at TC that see a packet before ours does, and may keep it. We attach at
// the head, but so does whoever comes later.
func (a *attachment) ahead() ([]Owner, error) {
	if l, ok := a.hook.(*linkHook); ok && a.Step == StepTC {
		return l.ahead()
	}
	return nil, nil
}

// disturbs says what taking the programs off would do to the link, if it is anything: then a stop should rather
// disarm them and leave.
func (a *attachment) disturbs() (string, bool) {
	if a.Step == StepNative || len(a.rest) > 0 {
		return a.driver.attach.String(), a.driver.attach != effectNone
	}
	return "", false
}

// detach takes everything off the interface, whatever that does to the link.
func (a *attachment) detach() error { return a.each(hook.detach) }

// leave gives back what the process holds. What is pinned runs on.
func (a *attachment) leave() error { return a.each(hook.leave) }

func (a *attachment) each(do func(hook) error) error {
	var errs []error
	for _, h := range a.rest {
		errs = append(errs, do(h))
	}
	if a.hook != nil {
		errs = append(errs, do(a.hook))
	}
	a.hook, a.rest, a.Step, a.Flavor = nil, nil, StepSocket, ""
	return errors.Join(errs...)
}

// String says what was reached in a line for the log.
func (a *attachment) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", a.Interface.Name, a.Step)
	if a.Flavor != "" {
		fmt.Fprintf(&b, " (%s)", a.Flavor)
	}
	for _, r := range a.Reasons {
		fmt.Fprintf(&b, "; %s: %s", r.Step, r.Why)
	}
	return b.String()
}
