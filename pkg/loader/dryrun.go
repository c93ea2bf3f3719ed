//go:build linux

package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// A Judgement is what can be said of one step on an interface without attaching.
type Judgement struct {
	Step       Step
	Works      bool
	Why        string // why not, with the mend; or where the programs go instead
	LinkEffect string // what attaching would do to the link
}

// A DryRun says what the ladder would find on this host. It attaches nothing and
// leaves nothing: the programs are loaded for a moment, to see whether they can be.
type DryRun struct {
	ResetLink bool // as in Options

	once   sync.Once // protects the fields below
	proofs map[Step]error
}

// Judge goes through the steps on an interface of the caller's namespace.
func (r *DryRun) Judge(ifname string) ([]Judgement, error) {
	ifc, err := interfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	r.once.Do(func() { r.proofs = proofs() })
	if why, members := placement(ifc); members {
		return []Judgement{{Step: StepNative, Why: why}, {Step: StepTC, Why: why}, {Step: StepGeneric, Why: why}, {Step: StepSocket, Works: true}}, nil
	}
	a := &attachment{Interface: ifc, Mode: ModeAuto, options: attachOptions{resetLink: r.ResetLink}, driver: driverOf(ifc)}
	x, err := readXDP(ifc.Index)
	if err != nil {
		return nil, err
	}
	running := x.ours()
	var out []Judgement
	for _, s := range []Step{StepNative, StepTC, StepGeneric} {
		j := Judgement{Step: s, LinkEffect: a.effectOf(s)}
		if err := r.proofs[s]; err != nil {
			j.Why = err.Error()
		} else if err := a.admit(s, nil); running == s || err == nil {
			j.Works = true
		} else if running != 0 && errors.Is(err, ErrForeign) {
			j.Why = fmt.Sprintf("the agent's own program is there, on step %s", running)
		} else {
			j.Why = err.Error()
		}
		out = append(out, j)
	}
	return append(out, Judgement{Step: StepSocket, Works: true, LinkEffect: effectNone.String()}), nil
}

// Start says why Start would fail in a mode that names a step, as far as that can be known without attaching. An
// agent that runs is not in the way, nor are its programs: whoever asks may be about to start it anew. The pin folder
// is not looked at.
func (r *DryRun) Start(o Options) error {
	o.Log = slog.New(slog.DiscardHandler)
	d := &Datapath{options: o, targets: o.Targets, named: map[string]Interface{}, notices: notices{log: o.Log}}
	wanted, _, err := d.wanted()
	if err != nil {
		return err
	}
	if len(wanted) == 0 && !o.Unresolved {
		return noInterfaceFor(o.Mode)
	}
	r.once.Do(func() { r.proofs = proofs() })
	var errs []error
	for _, index := range slices.Sorted(maps.Keys(wanted)) {
		ifc := wanted[index].Interface
		if err := r.fits(ifc, &o); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ifc.Name, err))
		}
	}
	return errors.Join(errs...)
}

// fits says why the step that the mode names cannot be had on an interface.
func (r *DryRun) fits(ifc Interface, o *Options) error {
	s := Step(o.Mode)
	if err := r.proofs[s]; err != nil {
		return err
	}
	x, err := readXDP(ifc.Index)
	if err != nil {
		return err
	}
	a := &attachment{Interface: ifc, Mode: o.Mode, options: attachOptions{resetLink: o.ResetLink}, driver: driverOf(ifc)}
	running := x.ours()
	if err = a.admit(s, nil); running == s || running != 0 && errors.Is(err, ErrForeign) {
		return nil // it would be taken over, or make room
	}
	return err
}

// ours is the step that a program of ours is on, an agent's that runs or ran; 0 if
// there is none.
func (x xdpPrograms) ours() Step {
	for _, s := range []Step{StepNative, StepGeneric} {
		if id := x.at(s); id != 0 && isOurs(id) {
			return s
		}
	}
	return 0
}

func (a *attachment) effectOf(s Step) string {
	switch {
	case s == StepNative && a.driver.native:
		return a.driver.attach.String()
	case s == StepNative:
		return ""
	case s == StepGeneric:
		return "switches LRO and hardware GRO off"
	}
	return effectNone.String()
}

// proofs loads the programs and has each give a reply.
func proofs() map[Step]error {
	out := map[Step]error{}
	spec, err := loadBpf()
	if err == nil {
		err = fit(spec)
	}
	var o *object
	if err == nil {
		unpinned(spec)
		o, err = newObject(spec, "")
	}
	for s, k := range kindAt {
		if out[s] = err; err == nil {
			out[s] = o.prove(k)
		}
	}
	if o != nil {
		_ = o.Close() // nothing depends on it
	}
	return out
}

// ProgramOwner says whose program it is, in words, and whether it is ours.
func ProgramOwner(id uint32) (who string, ours bool) {
	if isOurs(ebpf.ProgramID(id)) {
		return "", true
	}
	return fmt.Sprint(findOwner(ebpf.ProgramID(id))), false
}
