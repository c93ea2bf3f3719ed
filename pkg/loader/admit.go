//go:build linux

package loader

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// admit says why a step must not even be tried. Of most drivers one cannot find out by trying.
func (a *attachment) admit(s Step, ours map[Step]hook) error {
	if !a.Interface.Ethernet {
		return becausef(ErrNoPlace, "frames of %s have no Ethernet header", a.Interface.Name)
	}
	var err error
	switch s {
	case StepNative:
		err = a.admitNative(ours[s] != nil)
	case StepGeneric:
		err = a.admitGeneric()
	case StepTC:
		return nil // there is room for any number
	}
	if err != nil {
		return err
	}
	return a.foreignXDP(ours)
}

func (a *attachment) admitNative(attached bool) error {
	d, ifc := a.driver, a.Interface
	allowed := a.options.resetLink || d.attach == effectNone || d.attach == effectPauses && a.Mode == ModeNative
	switch {
	case !d.native:
		return fmt.Errorf("%s has no native XDP", d.name)
	case d.peer && a.Mode == ModeAuto:
		return fmt.Errorf("native XDP on %s answers only if the other end runs an XDP program too, so it is taken only by request (mode native)", d.name)
	case !allowed && !attached:
		return becausef(ErrResetsLink, "attaching native XDP with driver %s %s (datapath.reset_link: true allows it)", d.name, d.attach)
	}
	if d.vlan == tagInFrame && !d.lro {
		return nil
	}
	on, err := featuresOf(ifc.Name)
	if err != nil {
		return err
	}
	if d.lro && !attached {
		if names := offloads(on); names != "" {
			return fmt.Errorf("driver %s refuses native XDP while %s is on (ethtool -K %s lro off rx-gro-hw off)", d.name, names, ifc.Name)
		}
	}
	return a.admitTags(on)
}

// admitTags keeps native XDP off an interface with VLANs whose tags the program would not see.
func (a *attachment) admitTags(on map[string]bool) error {
	d, ifc := a.driver, a.Interface
	if d.vlan == tagInFrame || d.vlan == tagStripped && !on["rx-vlan-hw-parse"] {
		return nil
	}
	vlans, err := vlansOn(ifc)
	if err != nil || !vlans {
		return err
	}
	if d.vlan == tagBeside {
		return fmt.Errorf("VLAN devices stand on %s, and the tags of a %s are not in its frames: native XDP would reply untagged", ifc.Name, d.name)
	}
	return fmt.Errorf("VLAN devices stand on %s, and its NIC takes the tags off: native XDP would reply untagged (ethtool -K %s rxvlan off)", ifc.Name, ifc.Name)
}

// admitGeneric keeps the ladder from switching offloads off, which generic XDP does, unless it was asked for.
func (a *attachment) admitGeneric() error {
	if a.Mode != ModeAuto || a.options.resetLink {
		return nil
	}
	on, err := featuresOf(a.Interface.Name)
	if err != nil {
		return err
	}
	if names := offloads(on); names != "" {
		return fmt.Errorf("generic XDP would switch %s off for good (mode generic does it)", names)
	}
	return nil
}

func featuresOf(ifname string) (map[string]bool, error) {
	e, err := openEthtool()
	if err != nil {
		return nil, err
	}
	defer e.close()
	on, err := e.features(ifname)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // a device without ethtool has no offloads to ask for
	}
	return on, err
}

// offloads are those that merge packets before XDP would see them.
func offloads(on map[string]bool) string {
	var names []string
	for _, n := range []string{"rx-lro", "rx-gro-hw"} {
		if on[n] {
			names = append(names, n)
		}
	}
	return strings.Join(names, " and ")
}

// foreignXDP names the owner of an XDP program on the interface that is not ours. It is never replaced.
func (a *attachment) foreignXDP(ours map[Step]hook) error {
	x, err := readXDP(a.Interface.Index)
	if err != nil {
		return err
	}
	known := map[ebpf.ProgramID]bool{0: true}
	for _, h := range ours {
		known[h.program()] = true
	}
	for _, h := range a.rest {
		known[h.program()] = true
	}
	for _, p := range []struct {
		id  ebpf.ProgramID
		how string
	}{{x.native, "natively"}, {x.generic, "generically"}, {x.offloaded, "in the NIC"}} {
		if !known[p.id] {
			return becausef(ErrForeign, "an XDP program of somebody else is attached %s and is not replaced: %s", p.how, findOwner(p.id))
		}
	}
	return nil
}
