//go:build linux

package loader

import (
	"errors"
	"fmt"
)

// drop forgets an interface that is gone, or that is not ours to answer on any more.
func (d *Datapath) drop(s *site) error {
	delete(d.sites, s.Interface.Index)
	err := errors.Join(d.object.removeInterface(s.Interface.Index), s.detachEgress())
	if isGone(s.Interface.Index) {
		d.options.Log.Info("interface is gone", "interface", s.Interface.Name)
		return errors.Join(err, s.detach()) // no pin stays
	}
	d.options.Log.Info("not reflecting in the kernel any more", "interface", s.Interface.Name)
	if _, yes := s.disturbs(); yes {
		return errors.Join(err, s.leave()) // without its entry the program passes everything
	}
	return errors.Join(err, s.detach())
}

// dropOthers drops what an earlier process left on interfaces that are not wanted
// now: in its maps, and in pins that may be of other maps.
func (d *Datapath) dropOthers(wanted map[int]Place) error {
	known, err := entries[uint32, bpfLlamaIface](d.object.LlamaIface)
	if err != nil {
		return fmt.Errorf("read interfaces: %w", err)
	}
	others := map[int]bool{}
	for index := range known {
		others[int(index)] = true
	}
	if !d.swept {
		links, err := pinFolder(d.options.Pin).links()
		if err != nil {
			return err
		}
		for _, l := range links {
			others[l.ifindex] = true
		}
		if err := leaveAll(links); err != nil {
			return err
		}
		d.swept = true
	}
	var errs []error
	for index := range others {
		if _, ok := wanted[index]; !ok && d.sites[index] == nil {
			errs = append(errs, d.dropOther(index))
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) dropOther(index int) error {
	ifc, err := interfaceByIndex(index)
	if errors.Is(err, ErrNoInterface) {
		return d.object.removeInterface(index)
	}
	if err != nil {
		return err
	}
	a := &attachment{Interface: ifc, Step: StepSocket, driver: driverOf(ifc), options: attachOptions{pin: pinFolder(d.options.Pin)}}
	ours, err := a.adopt()
	if err != nil {
		return err
	}
	for step, h := range ours {
		if step == StepNative {
			a.rest = append(a.rest, h)
			continue
		}
		err = errors.Join(err, h.detach())
	}
	return errors.Join(err, d.drop(&site{attachment: a}))
}

func isGone(index int) bool {
	_, err := interfaceByIndex(index)
	return errors.Is(err, ErrNoInterface)
}
