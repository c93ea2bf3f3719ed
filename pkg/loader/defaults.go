//go:build linux

package loader

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultInterfaces are those by which packets of this host leave: the interfaces of its default routes, and of
// the routes to the targets, and the device by which all probes leave, if one is named. A target without a route
// adds none, nor does a device that is not there. Where routes change so much that not all can be seen, those that
// were are returned with the error.
func defaultInterfaces(targets []netip.Addr, device string) ([]Interface, error) {
	indexes := make(map[int]bool)
	var unseen error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if err := defaultRoutes(family, indexes); errors.Is(err, netlink.ErrDumpInterrupted) {
			unseen = err
		} else if err != nil {
			return nil, err
		}
	}
	for _, t := range targets {
		if err := routesTo(t, indexes); err != nil {
			return nil, err
		}
	}
	if device != "" {
		ifc, err := interfaceByName(device)
		switch {
		case err == nil:
			indexes[ifc.Index] = true
		case !errors.Is(err, ErrNoInterface):
			return nil, err
		}
	}
	var found []Interface
	for index := range indexes {
		ifc, err := interfaceByIndex(index)
		if errors.Is(err, ErrNoInterface) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		found = append(found, ifc)
	}
	slices.SortFunc(found, func(a, b Interface) int { return cmp.Compare(a.Name, b.Name) })
	return found, unseen
}

func defaultRoutes(family int, indexes map[int]bool) error {
	main := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	// One route at a time: a router may have a million.
	_, err := whole("routes", func() (struct{}, error) {
		return struct{}{}, netlink.RouteListFilteredIter(family, main, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if r.Dst == nil || isDefault(r) {
				addNexthops(r, indexes)
			}
			return true
		})
	})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

func isDefault(r netlink.Route) bool {
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// routesTo adds the interfaces of all nexthops of the route to an address, not only that of one flow.
func routesTo(t netip.Addr, indexes map[int]bool) error {
	routes, err := netlink.RouteGetWithOptions(t.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.EAFNOSUPPORT):
		return nil // there is none, or a route that says so
	case err != nil:
		return fmt.Errorf("look up route to %s: %w", t, err)
	}
	for _, r := range routes {
		if r.Type == unix.RTN_LOCAL && r.Dst != nil {
			lo, err := loopback()
			if err != nil {
				return err
			}
			indexes[lo.Index] = true // whatever interface has the address
			continue
		}
		addNexthops(r, indexes)
	}
	return nil
}

func loopback() (Interface, error) { return interfaceByName("lo") }

func addNexthops(r netlink.Route, indexes map[int]bool) {
	if r.LinkIndex != 0 && r.Type != unix.RTN_UNREACHABLE && r.Type != unix.RTN_BLACKHOLE && r.Type != unix.RTN_PROHIBIT {
		indexes[r.LinkIndex] = true
	}
	for _, hop := range r.MultiPath {
		indexes[hop.LinkIndex] = true
	}
}
