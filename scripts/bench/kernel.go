package main

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

const (
	// floodPorts are as many sessions as the flood makes.
	floodPorts = 64
	// pacedRate in packets/s is what a core's reflector over sockets keeps up with.
	pacedRate = 50_000
)

const (
	dropName   = "XDP_DROP, nothing else: the ceiling"
	matchName  = "XDP_DROP of our port, by the headers"
	socketName = ours + ", socket"
)

var kernelModes = []string{"native", "generic", "tc"}

// benchKernel floods the reflector in the kernel from the other end of the same
// cable, the fabric's port: what answers there does so on the sender's core, at
// the sender's expense. What comes back is dropped and counted as it arrives.
func benchKernel(b *bench) error {
	m := kernelMetrics(&b.table)
	out, err := b.place.lab.Fabric().Command(b.ctx, "ip", "link", "set", "dev", b.place.farPort(), "gso_max_segs", "1").CombinedOutput()
	if err != nil { // or a step that is no XDP would be given 64 packets in one
		return fmt.Errorf("cut packets apart at the sender: %w: %s", err, out)
	}
	back, err := b.attachDrop(b.place.lab.Fabric(), b.place.farPort(), ebpf.XDP, nil)
	if err != nil {
		return err
	}
	defer back.close()
	var ceiling, paced, overSockets float64 // of the round, µs a packet
	turns := []func() error{func() error {
		d, err := b.attachDrop(b.place.far, fabricLink, ebpf.XDP, nil)
		if err != nil {
			return err
		}
		defer d.close()
		if _, paced, err = b.flood(pacedRate); err != nil {
			return err
		}
		before, err := d.counted()
		if err != nil {
			return err
		}
		sent, cost, err := b.flood(0)
		if err != nil {
			return err
		}
		after, err := d.counted()
		ceiling = cost
		m.add(dropName, sent, cost, ceiling, float64(after-before))
		m.unlisted.add(dropName, cost)
		return err
	}, func() (err error) {
		overSockets, err = b.floodSockets(&m, back, paced)
		return err
	}}
	for _, mode := range kernelModes {
		turns = append(turns, func() error {
			p, err := b.startKernelReflector(mode, b.place.farPeers())
			if err != nil {
				return err
			}
			defer p.stop()
			before, err := back.counted()
			if err != nil {
				return err
			}
			var sent, cost float64
			u, err := p.during(func() (err error) {
				sent, cost, err = b.flood(0)
				return err
			})
			if err != nil {
				return err
			}
			after, err := back.counted()
			m.add(ours+", "+mode, sent, cost, ceiling, float64(after-before))
			m.less.add(ours+", "+mode, overSockets/(cost+u.cpu.Seconds()*1e6/sent-ceiling))
			return err
		})
	}
	return b.rounds(append(turns, b.unlistedTurns(&m)...)...)
}

type kernelRows struct{ rate, share, added, less, answered, unlisted, asDrop *metric }

func kernelMetrics(t *table) kernelRows {
	return kernelRows{
		rate:  t.metric("reflector in the kernel: packets a CPU second, sending them included (more is better)", ""),
		share: t.metric("reflector in the kernel: share of the ceiling", "native ≥ 0.60, generic ≥ 0.50, tc ≥ 0.45"),
		added: t.metric("reflector in the kernel: CPU µs a packet on top of the ceiling's, the way back included (less is better)", "native ≤ 0.5"),
		less: t.metric("reflector in the kernel: how many times less that is than over sockets, the agent's own CPU included (more is better)",
			"≥ 10"),
		answered: t.metric("reflector in the kernel: packets that arrived back (ceiling: that were dropped), of those sent", "1"),
		unlisted: t.metric("a flood from a source that is not on the list: CPU µs a packet, sending it included (less is better)", ""),
		asDrop:   t.metric("the same ÷ that of a program that finds our port in the headers and drops", "native: 1"),
	}
}

// add takes the cost of a packet in µs.
func (m *kernelRows) add(who string, sent, cost, ceiling, back float64) {
	m.rate.add(who, 1e6/cost)
	m.answered.add(who, back/sent)
	if who != dropName {
		m.share.add(who, ceiling/cost)
		m.added.add(who, cost-ceiling)
	}
}

// floodSockets has the sockets answer, at a rate that they keep up with, and returns
// what that costs on top of a drop at that rate: of the sender's core, which takes a
// packet up to the socket, and of the agent, whose replies go the same way back.
func (b *bench) floodSockets(m *kernelRows, back *drop, ceiling float64) (cost float64, err error) {
	p, err := b.startKernelReflector("socket", b.place.farPeers())
	if err != nil {
		return 0, err
	}
	defer p.stop()
	before, err := back.counted()
	if err != nil {
		return 0, err
	}
	var sent, sending float64
	u, err := p.during(func() (err error) {
		sent, sending, err = b.flood(pacedRate)
		b.pause(100 * time.Millisecond) // what waits is answered
		return err
	})
	if err != nil {
		return 0, err
	}
	after, err := back.counted()
	cost = sending - ceiling + u.cpu.Seconds()*1e6/sent
	m.added.add(socketName, cost)
	m.answered.add(socketName, float64(after-before)/sent)
	return cost, err
}

// unlistedTurns flood what refuses the source, and what knows of none.
func (b *bench) unlistedTurns(m *kernelRows) []func() error {
	var match float64 // of the round
	turns := []func() error{func() error {
		d, err := b.attachDrop(b.place.far, fabricLink, ebpf.XDP, matching())
		if err != nil {
			return err
		}
		defer d.close()
		sent, cost, err := b.flood(0)
		if err != nil {
			return err
		}
		match = cost
		m.unlisted.add(matchName, cost)
		dropped, err := d.counted()
		if err == nil && float64(dropped) < sent {
			err = fmt.Errorf("%s took %d of %.0f packets", matchName, dropped, sent)
		}
		return err
	}}
	for _, mode := range kernelModes {
		turns = append(turns, func() error {
			p, err := b.startKernelReflector(mode, "allow: [198.51.100.0/24]")
			if err != nil {
				return err
			}
			defer p.stop()
			sent, cost, err := b.flood(0)
			if err != nil {
				return err
			}
			m.unlisted.add(ours+", "+mode, cost)
			m.asDrop.add(ours+", "+mode, cost/match)
			return b.wasRefused(sent)
		})
	}
	return turns
}

var notAllowed = regexp.MustCompile(`drop not_allowed: (\d+)`)

// wasRefused is an error if the kernel did not drop what was sent as not allowed.
func (b *bench) wasRefused(sent float64) error {
	out, _, err := b.output(b.place.far, otherCore, b.bin.agent, "maps", "--pin", b.kernelPin())
	if err != nil {
		return err
	}
	if n := notAllowed.FindStringSubmatch(out); n == nil || float(n[1]) < sent {
		return fmt.Errorf("of %.0f packets of an unlisted source not all were refused in the kernel: %v", sent, n)
	}
	return nil
}

// flood returns how many packets were sent, and the CPU µs of one. Rate 0 is as fast as it goes.
func (b *bench) flood(rate int) (sent, cost float64, err error) {
	out, _, err := b.output(b.place.lab.Fabric(), measuredCore, b.bin.flood, b.place.far.IPv4.String(), strconv.Itoa(stampPort),
		seconds(b.scale.load), strconv.Itoa(floodPorts), strconv.Itoa(rate))
	if err != nil {
		return 0, 0, err
	}
	var cpu float64 // s
	if _, err = fmt.Sscan(out, &sent, &cpu); err != nil || sent == 0 {
		return 0, 0, fmt.Errorf("read flood: %q: %w", out, err)
	}
	return sent, cpu * 1e6 / sent, nil
}

func (b *bench) kernelPin() string { return filepath.Join(b.bpffs, "far") }

// farPeers has who sends from the fabric be a peer, with a rate so high that it never caps.
func (p *place) farPeers() string {
	return fmt.Sprintf("peers: [%s], rate_peers: 10000000", netip.PrefixFrom(p.far.IPv4, 24).Masked())
}

// startKernelReflector runs ours on the far host at one step of the ladder, every guard on,
// with these keys of its section reflector.
func (b *bench) startKernelReflector(mode, keys string) (*process, error) {
	return b.startKernelReflectorAt(mode, []int{stampPort}, keys)
}

func (b *bench) startKernelReflectorAt(mode string, ports []int, keys string) (*process, error) {
	var listen []string
	for _, p := range ports {
		listen = append(listen, fmt.Sprintf(`":%d"`, p))
	}
	file, err := b.write("kernel.yaml", fmt.Sprintf(`host: {name: far}
datapath: {mode: %s, interfaces: [%s], pin: %q}
reflector: {listen: [%s], workers: 1, %s}
targets: {}
api: {listen: ""}
`, mode, b.place.link, b.kernelPin(), strings.Join(listen, ", "), keys))
	if err != nil {
		return nil, err
	}
	p, err := b.serve(b.place.far, otherCore, ports[0], b.bin.agent, "run", "--config", file)
	if err != nil || mode == "socket" {
		return p, err
	}
	// The sockets come first; it is in the kernel once its link is pinned, and has started
	// once it needs no more CPU.
	var used time.Duration
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); b.pause(100 * time.Millisecond) {
		now, err := p.cpu()
		if err != nil {
			return nil, err
		}
		links, _ := filepath.Glob(filepath.Join(b.kernelPin(), "link_*"))
		if len(links) > 0 && now-used < 10*time.Millisecond {
			return p, nil
		}
		used = now
	}
	p.stop()
	return nil, fmt.Errorf("reflector is not in the kernel after 10 s\n%s", p.output.String())
}

// attachDrop attaches to an interface of a namespace.
func (b *bench) attachDrop(ns interface{ Do(func() error) error }, name string, by ebpf.ProgramType, first asm.Instructions) (d *drop, err error) {
	err = ns.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		d, err = attachDrop(i.Index, by, first)
		return err
	})
	return d, err
}
