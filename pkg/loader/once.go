//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// A Measurement measures in the kernel for one process, and reflects nothing. It
// pins nothing: whatever ends the process takes it off.
type Measurement struct {
	object      *object
	probes      *Probes
	attachments []*attachment
	egresses    []egress
}

// StartMeasurement attaches to the interfaces by which the targets are reached, all of
// them or none. The mode is a step; an interface where another program has its place,
// such as that of an agent, is an error. Probes leave by the device, if one is named: it is one of the
// interfaces. Flows and InFlight of the options count.
func StartMeasurement(ctx context.Context, mode Mode, targets []netip.Addr, device string, o ProbeOptions) (_ *Measurement, err error) {
	m := new(Measurement)
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	indexes := map[int]bool{}
	for _, t := range targets {
		if err := routesTo(t, indexes); err != nil {
			return nil, err
		}
	}
	if device != "" {
		ifc, err := interfaceByName(device)
		if err != nil {
			return nil, err
		}
		indexes[ifc.Index] = true
	}
	if len(indexes) == 0 {
		return nil, fmt.Errorf("no route to a target: %w", ErrNoInterface)
	}
	if err := m.load(mode, o); err != nil {
		return nil, err
	}
	covered := map[int]bool{}
	for index := range indexes {
		if err := m.attach(ctx, index, mode); err != nil {
			return nil, err
		}
		covered[index] = true
	}
	m.probes.cover(covered)
	return m, nil
}

func (m *Measurement) load(mode Mode, o ProbeOptions) error {
	liftMemlock()
	spec, err := readSpec()
	if err != nil {
		return err
	}
	unpinned(spec)
	emptyUnused(spec, mode)
	o.size(spec)
	if err := spec.Variables["llama_reflect"].Set(false); err != nil {
		return fmt.Errorf("set llama_reflect: %w", err)
	}
	if m.object, err = newObject(spec, ""); err != nil {
		return err
	}
	if m.probes, err = newProbes(m.object); err != nil {
		return err
	}
	// No lease: without this process nothing of it is attached.
	return errors.Join(m.object.setProbePorts(o.First, o.Last), m.object.setLease(math.MaxInt64))
}

func (m *Measurement) attach(ctx context.Context, index int, mode Mode) error {
	ifc, err := interfaceByIndex(index)
	if err != nil {
		return err
	}
	there, err := places(ifc)
	if err != nil {
		return err
	}
	for _, p := range there {
		a, err := attach(ctx, p.Interface, mode, m.object.programs(mode), attachOptions{})
		if err != nil {
			return err
		}
		m.attachments = append(m.attachments, a)
		e, err := attachEgress(p.Interface, m.object.LlamaEgress, ofOnce)
		if err != nil {
			return err
		}
		m.egresses = append(m.egresses, e)
	}
	return nil
}

// Probes is what measures; it ends with the Measurement.
func (m *Measurement) Probes() *Probes { return m.probes }

// Close takes everything off again.
func (m *Measurement) Close() error {
	var errs []error
	for _, e := range m.egresses {
		errs = append(errs, e.detach())
	}
	for _, a := range m.attachments {
		errs = append(errs, a.detach())
	}
	if m.probes != nil {
		errs = append(errs, m.probes.close())
	}
	if m.object != nil {
		errs = append(errs, m.object.Close())
	}
	return errors.Join(errs...)
}
