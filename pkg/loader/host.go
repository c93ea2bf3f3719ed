//go:build linux

package loader

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// refreshAddresses tells the programs which addresses are this host's.
func (d *Datapath) refreshAddresses() error {
	addrs, err := whole("addresses", func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	var local, broadcast []netip.Addr
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		if ip = ip.Unmap(); d.options.Local == nil || d.options.Local(ip) {
			local = append(local, ip)
		}
		if b, ok := netip.AddrFromSlice(a.Broadcast); ok && b.Unmap().Is4() {
			broadcast = append(broadcast, b.Unmap())
		}
	}
	return d.object.setLocal(local, broadcast...)
}

// macsAt are the hardware addresses by which this host is reached at an interface:
// its own, and those of what stands upon it or it is a member of.
func macsAt(ifc Interface) ([]net.HardwareAddr, error) {
	if ifc.Loopback {
		return []net.HardwareAddr{make(net.HardwareAddr, 6)}, nil // netlink tells of none, its frames have zeros
	}
	macs := []net.HardwareAddr{ifc.MAC}
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{ifc.MAC.String(): true}
	for _, l := range links {
		upper := fromLink(l)
		if upper.Index != ifc.Master && upper.Parent != ifc.Index || len(upper.MAC) != len(ifc.MAC) || seen[upper.MAC.String()] {
			continue
		}
		if len(macs) == maxMACs {
			break // what is sent to the others passes, to the sockets
		}
		seen[upper.MAC.String()] = true
		macs = append(macs, upper.MAC)
	}
	return macs, nil
}
