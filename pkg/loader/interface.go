//go:build linux

package loader

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is what the ladder needs to know of a network interface. The index is what identifies it: a name can
// pass to another one.
type Interface struct {
	Name   string
	Index  int
	MTU    int
	MAC    net.HardwareAddr
	Kind   string // as in `ip -d link`: veth, bond, vlan …; loopback; empty for hardware
	Driver string // as in `ethtool -i`; empty if there is none
	Master int    // index of the bond, bridge, team or VRF it belongs to, or 0
	Parent int    // index of the interface a VLAN, macvlan … stands on, or 0

	Loopback bool
	Ethernet bool // its frames begin with an Ethernet header
	Up       bool
	Carrier  bool
}

func interfaceByName(name string) (Interface, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Interface{}, notFound(fmt.Sprintf("find interface %q", name), err)
	}
	return describe(l), nil
}

func interfaceByIndex(index int) (Interface, error) {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return Interface{}, notFound(fmt.Sprintf("find interface %d", index), err)
	}
	return describe(l), nil
}

// notFound makes one error of the several by which netlink says that there is no such interface.
func notFound(what string, err error) error {
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s: %w", what, ErrNoInterface)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// describe is fromLink and what only ethtool knows.
func describe(l netlink.Link) Interface {
	ifc := fromLink(l)
	e, err := openEthtool()
	if err != nil {
		return ifc // the driver is then one that we do not know
	}
	defer e.close()
	ifc.Driver = e.driver(ifc.Name)
	return ifc
}

// fromLink reads what one netlink message says, and asks nothing more.
func fromLink(l netlink.Link) Interface {
	a := l.Attrs()
	ifc := Interface{
		Name: a.Name, Index: a.Index, MTU: a.MTU, MAC: a.HardwareAddr, Kind: l.Type(), Master: a.MasterIndex, Parent: a.ParentIndex,
		Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		Ethernet: a.EncapType == "ether" || a.EncapType == "loopback",
		Up:       a.RawFlags&unix.IFF_UP != 0,
		Carrier:  a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	switch {
	case ifc.Loopback:
		ifc.Kind = "loopback"
	case ifc.Kind == "device":
		ifc.Kind = "" // what netlink calls everything that nobody added
	case ifc.Kind == "veth":
		ifc.Parent = 0 // its peer, which may be in another namespace
	}
	return ifc
}
