package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/stamp"
	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/loader"
	"github.com/llama-agent/llama-agent/pkg/reflector"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// A kernelPart is the reflector in the kernel, before the one over sockets: what
// it does not answer goes up to that. The nil one is a host whose sockets do it all.
type kernelPart struct {
	datapath *loader.Datapath
	keeping  *part
	room     loader.ProbeOptions // that its tables were made for
}

// kernelProbing is what the datapath has to know of this host's own probes.
type kernelProbing struct {
	targets []netip.Addr  // as far as they are resolved
	answers func() uint64 // how many replies there have been; nil: nothing is probed
	covered func()        // told when the kernel measures on other interfaces
}

// startKernel puts the reflector into the kernel as far as the configuration lets
// it. In mode auto a host that cannot do it is no error: the log says why.
func startKernel(ctx context.Context, cfg *config.Config, policy reflector.Policy, p kernelProbing, log *slog.Logger) (*kernelPart, error) {
	mode, err := loader.ParseMode(cfg.Datapath.Mode)
	if err != nil {
		return nil, err
	}
	if mode == loader.ModeSocket || len(cfg.Reflector.Listen) == 0 {
		disarm(cfg.Datapath.Pin, log)
		return nil, nil
	}
	ports, local := kernelListen(cfg.Reflector.Listen)
	o := kernelOptions(cfg, mode, p.targets)
	o.Policy, o.Local, o.Answers, o.Log = kernelPolicy(cfg, policy, ports), local, p.answers, log
	o.Clock = func() loader.ClockState { return kernelClock(cfg) }
	o.Probes = kernelProbes(cfg, p.covered)
	d, err := loader.Start(ctx, o)
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("reflect in the kernel: %w", err)
	}
	if err != nil && mode == loader.ModeAuto {
		log.Warn("reflecting over sockets only", "why", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reflect in the kernel: %w", err)
	}
	return &kernelPart{datapath: d, keeping: start(d.Run), room: o.Probes}, nil
}

// kernelOptions say where the reflector goes, and on which step.
func kernelOptions(cfg *config.Config, mode loader.Mode, targets []netip.Addr) loader.Options {
	unresolved := false
	if mode != loader.ModeAuto && len(targets) == 0 {
		// The collector, which resolves them, comes later. In mode auto so may their interfaces.
		targets, unresolved = literalTargets(cfg)
	}
	return loader.Options{
		Pin: cfg.Datapath.Pin, Mode: mode, Interfaces: kernelInterfaces(cfg), Targets: targets, Device: cfg.Probing.Device, Unresolved: unresolved,
		ResetLink: cfg.Datapath.ResetLink, Lease: cfg.Datapath.Lease,
	}
}

// kernelInterfaces are those that are named; none: the default ones. A reflector in a VRF answers
// nowhere else.
func kernelInterfaces(cfg *config.Config) []string {
	if d := cfg.Reflector.Device; d != "" && len(cfg.Datapath.Interfaces) == 0 {
		return []string{d}
	}
	return cfg.Datapath.Interfaces
}

// kernelProbes is the room that the kernel needs to measure what is configured.
func kernelProbes(cfg *config.Config, covered func()) loader.ProbeOptions {
	p, families := &cfg.Probing, 1
	if p.Family == config.FamilyBoth {
		families = 2
	}
	flows := len(cfg.Targets) * families * len(p.Classes) * p.Ports
	return loader.ProbeOptions{
		Flows: flows, InFlight: collector.InFlight(p.Timing), Rate: float64(flows) / p.Timing.Interval.Seconds(),
		First: p.SourcePorts.Lo, Last: p.SourcePorts.Hi,
		Changed: covered,
	}
}

// fits says whether the tables in the kernel have room for what is configured now.
func (k *kernelPart) fits(cfg *config.Config) bool {
	if k == nil {
		return true
	}
	now := kernelProbes(cfg, nil)
	return now.Fit(&k.room)
}

// probes is what measures in the kernel; nil if nothing does.
func (k *kernelPart) probes() collector.Kernel {
	if k == nil || k.datapath.Probes() == nil {
		return nil
	}
	return k.datapath.Probes()
}

// disarm ends at once what an agent that was killed left in the kernel. What fails ends
// with its lease.
func disarm(pin string, log *slog.Logger) {
	was, err := loader.Disarm(pin)
	switch {
	case err != nil:
		log.Warn("programs of an earlier agent may answer until its lease ends", "pin", pin, "error", err)
	case was:
		log.Info("programs of an earlier agent pass everything from now on; llama-agent detach takes them off", "pin", pin)
	}
}

// stop takes the reflector out of the kernel where that disturbs nothing.
func (k *kernelPart) stop() error {
	if k == nil {
		return nil
	}
	return errors.Join(k.keeping.stop(), k.datapath.Close())
}

// literalTargets are the targets that need no resolving, and whether there are others.
func literalTargets(cfg *config.Config) (addrs []netip.Addr, others bool) {
	for _, t := range cfg.Targets {
		if a, err := netip.ParseAddr(t.Address); err == nil {
			addrs = append(addrs, a)
		} else {
			others = true
		}
	}
	return addrs, others
}

// kernelListen is what the kernel answers at: the ports that are listened on at the
// same addresses as the first. The sockets alone answer at the others.
func kernelListen(listen []netip.AddrPort) (ports []uint16, local func(netip.Addr) bool) {
	at := map[uint16][]netip.Addr{}
	for _, l := range listen {
		at[l.Port()] = append(at[l.Port()], l.Addr())
	}
	for _, addrs := range at {
		slices.SortFunc(addrs, netip.Addr.Compare)
	}
	first := at[listen[0].Port()]
	for _, l := range listen {
		if !slices.Contains(ports, l.Port()) && slices.Equal(at[l.Port()], first) {
			ports = append(ports, l.Port())
		}
	}
	return ports, func(a netip.Addr) bool {
		return slices.ContainsFunc(first, func(l netip.Addr) bool {
			return !l.IsValid() || l == a || l.IsUnspecified() && l.Is4() == a.Is4()
		})
	}
}

// kernelPolicy means the same as the socket reflector's.
func kernelPolicy(cfg *config.Config, p reflector.Policy, ports []uint16) loader.Policy {
	k := loader.Policy{
		Ports: ports, ReflectorPorts: slices.Clone(p.ReflectorPorts),
		Allow: p.Allow, AllowAny: p.AllowAny, Peers: p.Peers,
		PeerRate: p.PeerRate, StrangerRate: p.StrangerRate,
		Allow862: p.Allow862, TWAMPLight: p.TWAMPLight, DenyDSCP: uint64(p.DenyDSCP),
		SessionsPerPeer: reflector.DefaultSessionsPerPeer,
	}
	if cfg.Reflector.Legacy {
		k.Legacy = config.LegacyPort
	}
	for _, l := range cfg.Reflector.Listen {
		k.ReflectorPorts = append(k.ReflectorPorts, l.Port())
	}
	for _, a := range p.Auth {
		k.Keyed = append(k.Keyed, loader.KeyedRule{Prefix: a.Prefix, SSID: a.SSID})
	}
	return k
}

func kernelClock(cfg *config.Config) loader.ClockState {
	s := clockState(cfg)
	return loader.ClockState{TAIOffset: s.Clock.TAIOffset, Estimate: s.Estimate, PTP: s.Clock.Format == stamp.PTPv2}
}

// update tells the kernel whom to answer from now on.
func (k *kernelPart) update(cfg *config.Config, p reflector.Policy, targets []netip.Addr) error {
	if k == nil {
		return nil
	}
	ports, _ := kernelListen(cfg.Reflector.Listen)
	return k.datapath.Update(kernelPolicy(cfg, p, ports), targets)
}

// counters are what the agent says of it: packets by reason, interfaces by step.
func (k *kernelPart) counters() map[string]uint64 {
	if k == nil {
		return nil
	}
	c, err := k.datapath.Counters()
	if err != nil {
		return nil
	}
	return kernelCounters(c, k.datapath.Interfaces())
}

func kernelCounters(c loader.Counters, interfaces []loader.InterfaceState) map[string]uint64 {
	out := map[string]uint64{}
	for _, reason := range loader.Reasons() {
		out[reason] = 0
	}
	for e, n := range c {
		out[e.Reason] += n
	}
	for _, s := range []loader.Step{loader.StepNative, loader.StepTC, loader.StepGeneric, loader.StepSocket} {
		out["interfaces_"+s.String()] = 0
	}
	for _, i := range interfaces {
		out["interfaces_"+i.Step.String()]++
	}
	return out
}

// steps says on which step of the ladder each interface is, 1 for the best.
func (k *kernelPart) steps() []sink.AgentField {
	if k == nil {
		return nil
	}
	return stepFields(k.datapath.Interfaces())
}

func stepFields(interfaces []loader.InterfaceState) (out []sink.AgentField) {
	for _, i := range interfaces {
		f := sink.AgentInt("interface_"+fieldName(i.Name)+"_step", int64(i.Step))
		// eth0.1 and eth0_1 cannot both be told of: a name that is there twice would spoil all others.
		if !slices.ContainsFunc(out, func(o sink.AgentField) bool { return o.Name == f.Name }) {
			out = append(out, f)
		}
	}
	return out
}

// sameKernel says whether a reload leaves the datapath where it is.
func sameKernel(old, cfg *config.Config) bool {
	return reflect.DeepEqual(old.Datapath, cfg.Datapath) && slices.Equal(old.Reflector.Listen, cfg.Reflector.Listen) &&
		old.Reflector.Timestamps == cfg.Reflector.Timestamps && old.ClockError == cfg.ClockError &&
		old.Reflector.Device == cfg.Reflector.Device && old.Probing.Device == cfg.Probing.Device &&
		old.Probing.SourcePorts == cfg.Probing.SourcePorts && (len(old.Targets) == 0) == (len(cfg.Targets) == 0)
}
