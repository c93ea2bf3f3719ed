package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/llama-agent/llama-agent/internal/hostinfo"
	"github.com/llama-agent/llama-agent/internal/probe"
)

// choose returns the configured interfaces, else those that traffic takes, each
// followed by what it is built on.
func (h *hostCheck) choose(ctx context.Context, r *hostinfo.Reader) (chosen []hostinfo.Chosen, out []finding) {
	top := make([]hostinfo.Chosen, 0, len(h.cfg.Datapath.Interfaces))
	addrs, unresolved := targetAddrs(ctx, h.cfg.Targets)
	h.targets = addrs[:min(len(addrs), mostTargets)]
	for _, name := range h.cfg.Datapath.Interfaces {
		top = append(top, hostinfo.Chosen{Name: name, Why: "datapath.interfaces"})
	}
	if device := h.cfg.Reflector.Device; device != "" && len(top) == 0 {
		top = append(top, hostinfo.Chosen{Name: device, Why: "reflector.device"})
	}
	if len(top) == 0 {
		var missing []string
		if len(unresolved) > 0 {
			missing = append(missing, fmt.Sprintf("%d of %d names do not resolve: %s", len(unresolved), len(h.cfg.Targets), some(unresolved)))
		}
		var err error
		if top, err = r.ByRoute(addrs, h.cfg.Probing.Source, h.cfg.Probing.Device); err != nil {
			missing = append(missing, some(strings.Split(err.Error(), "\n")))
		}
		if len(missing) > 0 {
			out = append(out, finding{Name: "targets", Detail: strings.Join(missing, "; "), Mend: "see: getent ahosts NAME, ip route get ADDRESS"})
		}
	}
	if len(top) == 0 {
		out = append(out, finding{Name: "interface", Detail: "there is no default route and no route to a target, so none was chosen",
			Mend: "name them in datapath.interfaces"})
	}
	if device := h.cfg.Probing.Device; device != "" && !slices.ContainsFunc(top, func(c hostinfo.Chosen) bool { return c.Name == device }) {
		top = append(top, hostinfo.Chosen{Name: device, Why: "probing.device"})
	}
	for _, c := range top {
		below := r.Below(c.Name)
		if len(below) > mostBelow {
			out = append(out, finding{Name: "interface", Interface: c.Name, OK: true,
				Detail: fmt.Sprintf("of the %d interfaces that it is built on %d are shown", len(below), mostBelow)})
			below = below[:mostBelow]
		}
		for _, c := range append([]hostinfo.Chosen{c}, below...) {
			if !slices.ContainsFunc(chosen, func(have hostinfo.Chosen) bool { return have.Name == c.Name }) {
				chosen = append(chosen, c)
			}
		}
	}
	return chosen, out
}

// mostTargets bounds how many the kernel is asked about on each interface.
const mostTargets = 256

// mostBelow bounds what is said of a bridge with a port for each guest.
const mostBelow = 32

// resolveWithin bounds how long check waits for all names together.
const resolveWithin = 2 * time.Second

func targetAddrs(ctx context.Context, targets []probe.Target) (addrs []netip.Addr, unresolved []string) {
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	found := make([][]netip.Addr, len(targets))
	var g errgroup.Group
	g.SetLimit(32)
	for i, t := range targets {
		if a, err := netip.ParseAddr(t.Address); err == nil {
			found[i] = []netip.Addr{a}
			continue
		}
		g.Go(func() error {
			found[i], _ = net.DefaultResolver.LookupNetIP(ctx, "ip", t.Address) // none is reported below
			return nil
		})
	}
	_ = g.Wait() // none returns an error: one name that fails does not end the others
	for i, list := range found {
		if len(list) == 0 {
			unresolved = append(unresolved, targets[i].Address)
		}
		addrs = append(addrs, list...)
	}
	return addrs, unresolved
}

// some names the first few of a list.
func some(list []string) string {
	const few = 3
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}
