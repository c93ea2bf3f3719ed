//go:build linux

package loader

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// Place is an interface on which the programs for another one go, mostly itself.
type Place struct {
	Interface Interface
	Why       string // empty where nobody would ask
}

// maxNesting is how deep interfaces may stand on one another: a VRF has bonds, which have members.
const maxNesting = 4

// places says where the programs for an interface go. Where they can go nowhere the error says why.
func places(ifc Interface) ([]Place, error) {
	if !ifc.Ethernet {
		return nil, fmt.Errorf("interface %s: its frames have no Ethernet header, which the programs read: %w", ifc.Name, ErrNoPlace)
	}
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	return placesAmong(ifc, links, maxNesting)
}

func placesAmong(ifc Interface, links []netlink.Link, depth int) ([]Place, error) {
	why, members := placement(ifc)
	if !members {
		return []Place{{ifc, why}}, nil
	}
	var found []Place
	var errs []error
	for _, l := range links {
		if l.Attrs().MasterIndex != ifc.Index || depth == 0 {
			continue
		}
		below, err := placesAmong(describe(l), links, depth-1)
		errs = append(errs, err)
		for i := range below {
			if below[i].Why == "" {
				below[i].Why = fmt.Sprintf("member of %s: %s", ifc.Name, why)
			}
		}
		found = append(found, below...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("interface %s: a %s without members: %w", ifc.Name, ifc.Kind, ErrNoPlace)
	}
	slices.SortFunc(found, func(a, b Place) int { return a.Interface.Index - b.Interface.Index })
	return found, nil
}

// placement says whether the programs go to the interface's members, and the reason for either.
func placement(ifc Interface) (why string, members bool) {
	switch ifc.Kind {
	case "bond", "team":
		return "a program on each member, since one on the " + ifc.Kind + " would answer by another member than the request came by", true
	case "vrf":
		return "requests come in by the members of a VRF", true
	case "bridge":
		return "on the bridge itself, which sees what is for this host, whichever port it comes by; a bridge has no native XDP", false
	case "vlan":
		return "on the VLAN device itself, where the tag is off whether the NIC strips it or not, and is put on the reply again; it has no native XDP", false
	case "macvlan", "macvtap", "ipvlan":
		return "on the " + ifc.Kind + " itself, since the interface under it has frames of others; it has no native XDP", false
	}
	return "", false
}

// vlansOn says whether VLAN devices stand on the interface.
func vlansOn(ifc Interface) (bool, error) {
	return anyLink(func(l Interface) bool { return l.Kind == "vlan" && l.Parent == ifc.Index })
}

func anyLink(match func(Interface) bool) (bool, error) {
	links, err := listLinks()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(links, func(l netlink.Link) bool { return match(fromLink(l)) }), nil
}
