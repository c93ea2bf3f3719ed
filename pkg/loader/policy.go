//go:build linux

package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// llamaPort is where Dropbox's LLAMA reflectors listened; they echo anything.
const llamaPort = 8100

const (
	maxPorts   = len(bpfLlamaConfig{}.Ports)
	maxRefused = len(bpfLlamaConfig{}.Refused)
)

// Policy says who is answered in the kernel. It means what pkg/reflector's does.
type Policy struct {
	Ports          []uint16 // that the reflector listens on
	ReflectorPorts []uint16 // of other reflectors: refused as source ports, like Ports, Legacy and 8100
	Legacy         uint16   // where probes of Dropbox's LLAMA are answered, and nothing else; 0: nowhere

	Allow    []netip.Prefix // sources that are answered
	AllowAny bool
	Peers    []netip.Prefix // answered too, with sessions that strangers cannot push out
	Keyed    []KeyedRule    // what may have to authenticate goes to the socket reflector

	PeerRate, StrangerRate int // requests a second and source address

	Allow862        bool   // answers source port 862
	TWAMPLight      bool   // requests of 41 to 43 octets are for the socket reflector, not short
	DenyDSCP        uint64 // bit n: Class of Service may not ask for DSCP n
	SessionsPerPeer int    // of a source address
}

// KeyedRule is what a key is for: sources in Prefix (the zero Prefix is all) that
// have the SSID (0 is any).
type KeyedRule struct {
	Prefix netip.Prefix
	SSID   uint16
}

// setPolicy replaces the policy. Packets meanwhile are judged by the old one or by
// the new one, each part of it for itself.
func (o *object) setPolicy(p *Policy) error {
	c, err := p.config()
	if err != nil {
		return err
	}
	v4, v6, err := p.verdicts()
	if err != nil {
		return err
	}
	ssids := p.keyedSSIDs()
	if len(ssids) > 0 {
		c.Keyed = 1
	}
	if n, most := len(ssids), int(o.LlamaKeyed.MaxEntries()); n > most { // before anything is written
		return fmt.Errorf("write keyed SSIDs: %d entries, at most %d", n, most)
	}
	if n, most := len(v6), int(o.LlamaAllow6.MaxEntries()); n > most {
		return fmt.Errorf("write IPv6 sources: %d entries, at most %d", n, most)
	}
	err = replace(o.LlamaAllow4, v4, func(a, b bpfLlamaLpm4) int { return int(b.Prefixlen) - int(a.Prefixlen) })
	if err != nil {
		return fmt.Errorf("write IPv4 sources: %w", err)
	}
	err = replace(o.LlamaAllow6, v6, func(a, b bpfLlamaLpm6) int { return int(b.Prefixlen) - int(a.Prefixlen) })
	if err != nil {
		return fmt.Errorf("write IPv6 sources: %w", err)
	}
	if err := replace(o.LlamaKeyed, ssids, nil); err != nil {
		return fmt.Errorf("write keyed SSIDs: %w", err)
	}
	return o.updateConfig(func(old *bpfLlamaConfig) {
		c.Gen, c.ProbesFirst, c.ProbesLast = old.Gen, old.ProbesFirst, old.ProbesLast
		*old = *c
	})
}

// updateConfig writes a new generation of the configuration: what sessions
// remember of the old one no longer holds.
func (o *object) updateConfig(change func(*bpfLlamaConfig)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.config
	change(&c)
	if c.Gen++; c.Gen == 0 {
		c.Gen = 1
	}
	if err := o.LlamaConfig.Update(uint32(0), &c, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	o.config = c
	return nil
}

// renew makes the programs look anew at what sessions remember.
func (o *object) renew() error { return o.updateConfig(func(*bpfLlamaConfig) {}) }

func (p *Policy) config() (*bpfLlamaConfig, error) {
	ports := distinct(p.Ports)
	if p.Legacy != 0 {
		ports = distinct(ports, []uint16{p.Legacy})
	}
	refused := distinct(ports, p.ReflectorPorts, []uint16{llamaPort})
	var errs []error
	if len(ports) == 0 || len(ports) > maxPorts {
		errs = append(errs, fmt.Errorf("reflect on %d ports: at least 1 and at most %d", len(ports), maxPorts))
	}
	if slices.Contains(p.Ports, p.Legacy) && p.Legacy != 0 {
		errs = append(errs, fmt.Errorf("reflect on port %d: either STAMP's probes or those of LLAMA", p.Legacy))
	}
	if slices.Contains(ports, 0) {
		errs = append(errs, errors.New("reflect on port 0: not a port"))
	}
	if len(refused) > maxRefused {
		errs = append(errs, fmt.Errorf("refuse %d ports of reflectors: at most %d", len(refused), maxRefused))
	}
	if p.PeerRate <= 0 || p.StrangerRate <= 0 || p.SessionsPerPeer <= 0 {
		errs = append(errs, errors.New("rates and sessions of a source: must be positive"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := &bpfLlamaConfig{
		DenyDscp: p.DenyDSCP, MinLen: stamp.BaseLen, SessionsPerPeer: uint32(p.SessionsPerPeer),
		Allow862: flag(p.Allow862), TwampLight: flag(p.TWAMPLight),
		Nports: uint8(len(ports)), Nrefused: uint8(len(refused)), LegacyPort: be16(p.Legacy),
	}
	c.PeerRate.IntervalNs, c.PeerRate.ToleranceNs = gcra(p.PeerRate)
	c.StrangerRate.IntervalNs, c.StrangerRate.ToleranceNs = gcra(p.StrangerRate)
	if p.TWAMPLight {
		c.MinLen = stamp.MinLen
	}
	for i, port := range ports {
		c.Ports[i] = be16(port)
		c.PortsFilter |= 1 << (port & 63)
	}
	for i, port := range refused {
		c.Refused[i] = be16(port)
		c.RefusedFilter |= 1 << (port & 63)
	}
	return c, nil
}

// gcra allows bursts of 100 ms' worth of requests, 32 at the least, as the socket
// reflector does.
func gcra(perSecond int) (interval, tolerance uint64) {
	interval = max(1, 1e9/uint64(perSecond))
	burst := max(32, uint64(perSecond)/10)
	return interval, (burst - 1) * interval
}

func distinct(ports ...[]uint16) []uint16 {
	all := slices.Concat(ports...)
	slices.Sort(all)
	return slices.Compact(all)
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
