package main

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"
)

// floodPorts are as many sessions as the flood makes.
const floodPorts = 64

const dropName = "XDP_DROP, nothing else: the ceiling"

// benchKernel floods the reflector in the kernel from the other end of the same
// cable, the fabric's port: what answers there does so on the sender's core, at
// the sender's expense. What comes back is dropped and counted as it arrives.
func benchKernel(b *bench) error {
	m := kernelMetrics(&b.table)
	out, err := b.place.lab.Fabric().Command(b.ctx, "ip", "link", "set", "dev", b.place.farPort(), "gso_max_segs", "1").CombinedOutput()
	if err != nil { // or a step that is no XDP would be given 64 packets in one
		return fmt.Errorf("cut packets apart at the sender: %w: %s", err, out)
	}
	back, err := b.attachDrop(b.place.lab.Fabric(), b.place.farPort())
	if err != nil {
		return err
	}
	defer back.close()
	var ceiling float64 // of the round
	turns := []func() error{func() error {
		d, err := b.attachDrop(b.place.far, "eth0")
		if err != nil {
			return err
		}
		defer d.close()
		sent, cost, err := b.flood()
		if err != nil {
			return err
		}
		dropped, err := d.counted()
		ceiling = cost
		m.add(dropName, sent, cost, ceiling, float64(dropped))
		return err
	}}
	for _, mode := range []string{"native", "generic", "tc"} {
		turns = append(turns, func() error {
			p, err := b.startKernelReflector(mode)
			if err != nil {
				return err
			}
			defer p.stop()
			before, err := back.counted()
			if err != nil {
				return err
			}
			sent, cost, err := b.flood()
			if err != nil {
				return err
			}
			after, err := back.counted()
			m.add(ours+", "+mode, sent, cost, ceiling, float64(after-before))
			return err
		})
	}
	return b.rounds(turns...)
}

type kernelRows struct{ rate, share, added, answered *metric }

func kernelMetrics(t *table) kernelRows {
	return kernelRows{
		rate:     t.metric("reflector in the kernel: packets a CPU second, sending them included (more is better)", ""),
		share:    t.metric("reflector in the kernel: share of the ceiling", "native ≥ 0.60, generic ≥ 0.50, tc ≥ 0.45"),
		added:    t.metric("reflector in the kernel: CPU µs a packet on top of the ceiling's, the way back included (less is better)", "native ≤ 0.5"),
		answered: t.metric("reflector in the kernel: packets that arrived back (ceiling: that were dropped), of those sent", "1"),
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

// flood returns how many packets were sent, and the CPU µs of one.
func (b *bench) flood() (sent, cost float64, err error) {
	out, _, err := b.output(b.place.lab.Fabric(), measuredCore, b.bin.flood, b.place.far.IPv4.String(), strconv.Itoa(stampPort),
		seconds(b.scale.load), strconv.Itoa(floodPorts))
	if err != nil {
		return 0, 0, err
	}
	var cpu float64 // s
	if _, err = fmt.Sscan(out, &sent, &cpu); err != nil || sent == 0 {
		return 0, 0, fmt.Errorf("read flood: %q: %w", out, err)
	}
	return sent, cpu * 1e6 / sent, nil
}

// startKernelReflector runs ours on the far host at one step of the ladder: every
// guard on, the sender a peer, and its rate so high that it never caps.
func (b *bench) startKernelReflector(mode string) (*process, error) {
	pin := filepath.Join(b.bpffs, "far")
	file, err := b.write("kernel.yaml", fmt.Sprintf(`host: {name: far}
datapath: {mode: %s, interfaces: [eth0], pin: %q}
reflector: {listen: [":%d"], peers: [%s], rate_peers: 10000000, workers: 1}
targets: {}
api: {listen: ""}
`, mode, pin, stampPort, netip.PrefixFrom(b.place.far.IPv4, 24).Masked()))
	if err != nil {
		return nil, err
	}
	p, err := b.serve(b.place.far, otherCore, stampPort, b.bin.agent, "run", "--config", file)
	if err != nil {
		return nil, err
	}
	// The sockets come first; it is in the kernel once its link is pinned.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); b.pause(10 * time.Millisecond) {
		if links, _ := filepath.Glob(filepath.Join(pin, "link_*")); len(links) > 0 {
			return p, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("reflector is not in the kernel after 10 s\n%s", p.output.String())
}

// attachDrop attaches to an interface of a namespace.
func (b *bench) attachDrop(ns interface{ Do(func() error) error }, name string) (d *drop, err error) {
	err = ns.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		d, err = attachDrop(i.Index)
		return err
	})
	return d, err
}
