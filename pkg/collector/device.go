package collector

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A device is what probes have to leave by (Options.Device), as it is now: an interface that
// went and came again has another index.
type device struct {
	index int  // 0: none is asked for, or it does not exist
	table int  // of a VRF's routes, which have other interfaces; 0: it is none
	bound bool // a VRF, or in one: what comes in there is for sockets only that are bound to it
}

func deviceNamed(h *netlink.Handle, name string) (d device) {
	if name == "" {
		return d
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return d // also if it could not be asked for: what may be another uplink is none to send by
	}
	a := link.Attrs()
	d.index = a.Index
	if v, ok := link.(*netlink.Vrf); ok {
		d.table = int(v.Table)
	}
	d.bound = d.table != 0 || a.Slave != nil && a.Slave.SlaveType() == "vrf"
	return d
}

// routeTo asks the kernel for the way to an address, by the device if there is one; a source
// that is not valid is left to the kernel.
func (d device) routeTo(h *netlink.Handle, dst, source netip.Addr) (*netlink.Route, error) {
	o := netlink.RouteGetOptions{OifIndex: d.index, SrcAddr: source.AsSlice()}
	routes, err := h.RouteGetWithOptions(dst.AsSlice(), &o)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up route to %s: %w", dst, err)
	case len(routes) == 0, d.table != 0 && routes[0].Table != d.table:
		return nil, unix.ENETUNREACH // what a VRF has no route to is looked for in the main table
	case d.index != 0 && d.table == 0 && routes[0].LinkIndex != d.index:
		// With a source, the device is no more than a wish to IPv6: sends go the same way.
		return nil, unix.ENETUNREACH
	case d.index != 0:
		// What no route by the device leads to, IPv4 takes for a neighbour there.
		o.FIBMatch = true
		if _, err := h.RouteGetWithOptions(dst.AsSlice(), &o); err != nil {
			return nil, fmt.Errorf("look up route to %s by its device: %w", dst, err)
		}
	}
	return &routes[0], nil
}

// sourceOf is the one of that family; invalid: any.
func sourceOf(sources []netip.Addr, v6 bool) (a netip.Addr) {
	for _, s := range sources {
		if s.Is6() == v6 {
			a = s
		}
	}
	return a
}

// turnSocketsTo has the sockets that are open send by the device of now. One that cannot is closed, and
// opened again as those are that could not be opened. While there is no device nothing is sent.
func (l *loop) turnSocketsTo(d device) {
	if d == l.device || d.index == 0 {
		return
	}
	other := d.bound != l.device.bound
	l.device = d
	for _, s := range l.sockets {
		if s.fd >= 0 && (other || l.pin(s) != nil) {
			delete(l.byFD, int32(s.fd))
			l.closeSocket(s)
		}
	}
}

// followDevice has the ways to all targets looked up whenever an interface, an address or a route
// changed, until ctx ends.
func (c *Collector) followDevice(ctx context.Context) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		c.options.Log.Error("device is looked at now and then only", "device", c.options.Device, "error", err)
		return
	}
	stop := context.AfterFunc(ctx, s.Close) // ends Receive
	defer stop()
	for {
		wake(c.rerouted) // first for what changed before we listened
		if _, _, err = s.Receive(); ctx.Err() != nil {
			return
		}
		// That some were lost is news too.
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			c.options.Log.Error("device is looked at now and then only", "device", c.options.Device, "error", err)
			return
		}
	}
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reroute looks the ways up anew, by the addresses that are known.
func (c *Collector) reroute(ctx context.Context) {
	rest(ctx, hopSettle)
	begun := time.Now()
	c.resolve(ctx)
	rest(ctx, min(hopIdleness*time.Since(begun), time.Second))
}
