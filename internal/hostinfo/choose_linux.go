package hostinfo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Chosen is an interface that matters, and why.
type Chosen struct {
	Name string `json:"name"`
	Why  string `json:"why"` // such as "default route"
}

// ByRoute returns the interfaces of the default routes, and of the routes to
// targets (every next hop; this host's own addresses are on lo). The source, one
// a family at most, is the one that probes leave from, the device what they leave by;
// "": by the route. An error beside the result tells of targets without a route.
func (r *Reader) ByRoute(targets, source []netip.Addr, device string) ([]Chosen, error) {
	var c choice
	if err := c.defaults(); err != nil {
		return nil, err
	}
	var errs []error
	for _, t := range targets {
		errs = append(errs, c.target(t.Unmap(), source, device))
	}
	out := make([]Chosen, 0, len(c))
	for _, one := range c {
		name := r.Name(one.index)
		if one.index == local {
			name = "lo"
		}
		out = append(out, Chosen{name, one.why})
	}
	return out, errors.Join(errs...)
}

// Below returns what the interface is built on, all the way down: members of a
// bond, the device of a VLAN.
func (r *Reader) Below(name string) []Chosen {
	var out []Chosen
	seen := map[int]bool{}
	var down func(link netlink.Link)
	down = func(link netlink.Link) {
		_, lowers := r.relatives(link)
		for _, l := range lowers {
			if !seen[l.Index] {
				seen[l.Index] = true
				out = append(out, Chosen{l.Name, "under " + link.Attrs().Name})
				down(r.byIndex[l.Index])
			}
		}
	}
	for _, l := range r.links {
		if a := l.Attrs(); a.Name == name || slices.Contains(a.AltNames, name) {
			down(l)
		}
	}
	return out
}

// choice is the interfaces found so far, each once, with the first reason.
type choice []struct {
	index int
	why   string
}

// local stands for lo, whose index need not be 1.
const local = 0

func (c *choice) add(route netlink.Route, why string) {
	indexes := []int{route.LinkIndex}
	switch {
	case route.Type == unix.RTN_LOCAL:
		indexes = []int{local}
	case len(route.MultiPath) > 0:
		indexes = nil
		for _, hop := range route.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
	}
next:
	for _, i := range indexes {
		for _, have := range *c {
			if have.index == i {
				continue next
			}
		}
		*c = append(*c, struct {
			index int
			why   string
		}{i, why})
	}
}

func (c *choice) defaults() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := netlink.RouteListFilteredIter(family, &netlink.Route{}, 0, func(r netlink.Route) bool {
			if isDefault(r.Dst) && r.Type == unix.RTN_UNICAST {
				c.add(r, "default route")
			}
			return true
		})
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("list routes: %w", err)
		}
	}
	return nil
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	ones, _ := dst.Mask.Size()
	return ones == 0
}

func (c *choice) target(t netip.Addr, source []netip.Addr, device string) error {
	o := netlink.RouteGetOptions{FIBMatch: true, Oif: device}
	for _, s := range source {
		if s.Is4() == t.Is4() {
			o.SrcAddr = s.AsSlice()
		}
	}
	routes, err := netlink.RouteGetWithOptions(t.WithZone("").AsSlice(), &o)
	if err != nil {
		return fmt.Errorf("route to %s: %w", t, err)
	}
	for _, r := range routes {
		c.add(r, "route to "+t.String())
	}
	return nil
}
