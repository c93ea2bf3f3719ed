package main

import (
	"net"
	"net/netip"
	"slices"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/reflector"
)

// planOf is what the configuration asks to be probed.
func planOf(c *config.Config) collector.Plan {
	return collector.Plan{
		Targets: c.Targets,
		Classes: c.Probing.Classes,
		Count:   c.Probing.Ports,
		Sizes:   c.Probing.Sizes,
		Rotate:  c.Probing.Rotate,
		Ports: func(n int) []uint16 {
			return config.SourcePorts(c.Host.Name, n, c.Probing.SourcePorts)
		},
	}
}

var families = map[config.Family]collector.Family{
	config.FamilyAny: collector.FamilyAny, config.Family4: collector.Family4,
	config.Family6: collector.Family6, config.FamilyBoth: collector.FamilyBoth,
}

var formats = map[config.Timestamps]stamp.Format{config.TimestampsNTP: stamp.NTP, config.TimestampsPTP: stamp.PTPv2}

func collectorOptions(c *config.Config) collector.Options {
	return collector.Options{
		Host: c.Host.Name, Plan: planOf(c), Timing: c.Probing.Timing, Family: families[c.Probing.Family],
		Format: formats[c.Probing.Timestamps], Sources: c.Probing.Source, Device: c.Probing.Device, AllFlow: c.Probing.AllFlowLines,
		SlowFlow: c.Probing.FlowSlow, MaxFlows: c.Probing.MaxFlowLines,
		EmitPacket: c.Probing.Emit == config.EmitPacket,
		OneWay:     c.Probing.OneWay, ClockError: c.ClockError,
		MaxRate: c.Probing.MaxRate, MaxRatePerTarget: c.Probing.MaxRatePerTarget, MaxCPU: c.Probing.MaxCPU,
		Allow: func(a netip.Addr) bool {
			return c.Probing.Allow.Contains(a) || c.Probing.Allow.Connected && contains(connectedPrefixes(), a)
		},
	}
}

// policyOf is whom the reflector answers: the configuration's sources, and the
// addresses of our own targets as peers.
func policyOf(c *config.Config, targets []netip.Addr) reflector.Policy {
	r := &c.Reflector
	p := reflector.Policy{
		Allow: slices.Clone(r.Allow.Prefixes), AllowAny: r.Allow.Any, Peers: slices.Clone(r.Peers),
		PeerRate: r.RatePeers, StrangerRate: r.RateStrangers, Allow862: r.Allow862, TWAMPLight: r.TWAMPLight, HideLocation: !r.Location,
	}
	if r.Allow.Connected {
		p.Allow = append(p.Allow, connectedPrefixes()...)
	}
	p.ReflectorPorts = slices.Clone(r.RefusePorts)
	for _, a := range targets {
		p.Peers = append(p.Peers, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, a := range r.Auth {
		p.Auth = append(p.Auth, reflector.Auth{Prefix: a.Prefix, SSID: a.SSID, Key: a.Key})
	}
	return p
}

func reflectorOptions(c *config.Config) reflector.Options {
	return reflector.Options{
		Listen: c.Reflector.Listen, Legacy: legacyListen(c), Device: c.Reflector.Device, Workers: c.Reflector.Workers, Policy: policyOf(c, nil),
		Clock: func() reflector.ClockState { return clockState(c) },
	}
}

// legacyListen is where probes of Dropbox's LLAMA are answered: all addresses that
// STAMP's are, on LLAMA's port.
func legacyListen(c *config.Config) (out []netip.AddrPort) {
	if !c.Reflector.Legacy {
		return nil
	}
	for _, l := range c.Reflector.Listen {
		if a := netipPort(l, config.LegacyPort); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// clockState is what the reflector says of its clock in each reply.
func clockState(c *config.Config) reflector.ClockState {
	f, q := formats[c.Reflector.Timestamps], sock.ReadClockQuality().Stated(c.ClockError)
	s := reflector.ClockState{
		Clock:    stamp.Clock{Format: f, TAIOffset: q.TAIOffset},
		Estimate: stamp.NewErrorEstimate(q.Synchronized, f, q.MaxError),
	}
	if q.Synchronized {
		s.Sync = stamp.SyncNTP
	}
	return s
}

// hostOf is how this host is called: a target that is this host lends its tags.
func hostOf(c *config.Config) probe.Host {
	h := probe.Host{Name: c.Host.Name, Tags: c.Host.Tags}
	local := localAddresses()
	for _, t := range c.Targets {
		a, err := netip.ParseAddr(t.Address)
		if t.Name != c.Host.Name && (err != nil || a.IsLoopback() || !slices.Contains(local, a.Unmap())) {
			continue
		}
		tags := make(map[string]string, len(t.Tags)+len(h.Tags))
		for _, from := range []map[string]string{t.Tags, c.Host.Tags} {
			for k, v := range from {
				tags[k] = v
			}
		}
		h.Tags = tags
	}
	return h
}

func contains(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// connectedPrefixes are those of this host's own interfaces.
func connectedPrefixes() (out []netip.Prefix) {
	for _, p := range interfacePrefixes() {
		if !p.Addr().IsLoopback() {
			out = append(out, p.Masked())
		}
	}
	return out
}

func localAddresses() (out []netip.Addr) {
	for _, p := range interfacePrefixes() {
		out = append(out, p.Addr())
	}
	return out
}

func interfacePrefixes() (out []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			out = append(out, netip.PrefixFrom(ip.Unmap(), bits))
		}
	}
	return out
}
