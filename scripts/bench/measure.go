package main

import (
	"errors"
	"fmt"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// kernelPort is the first of the ports that are targets where the kernel answers: it
// does so at addresses of interfaces only.
const kernelPort = 8621

// benchMeasure raises the rate of a collector whose probes are stamped, answered and
// captured in the kernel: all of it on the core that sends, over a cable.
func benchMeasure(b *bench) error {
	t := &b.table
	m := sweep{
		highest:  t.metric("measuring in the kernel: highest rate without false loss, probes/s (more is better)", "200,000 over UDP sockets, 300,000 as frames"),
		trouble:  t.metric("measuring in the kernel: lost + late + local_drop + refused, probes, by rate offered", "0"),
		sent:     t.metric("measuring in the kernel: sent, answered and captured, probes/s, by rate offered (more is better)", "200,000 over UDP sockets, 300,000 as frames"),
		notSent:  t.metric("measuring in the kernel: due and not sent, %, by rate offered", ""),
		cpu:      t.metric("measuring in the kernel: % of a core, by rate offered", ""),
		rss:      t.metric("measuring in the kernel: resident memory, MB, by rate offered", ""),
		perCore:  t.metric("measuring in the kernel: probes a CPU second, at the highest rate (more is better); in C, sending alone", ""),
		perProbe: t.metric("measuring in the kernel, at its highest rate: CPU µs a probe, answered and captured (less is better)", ""),
	}
	var turns []func() error
	for _, mode := range []string{"tc", "native"} {
		for _, frames := range []bool{false, true} {
			turns = append(turns, func() error { return b.sweepKernel(&m, mode, frames) },
				func() error { return b.sendingAlone(&m, mode, frames) })
		}
	}
	return b.place.cabled(b.ctx, func() error { return b.rounds(turns...) })
}

func (b *bench) sweepKernel(m *sweep, mode string, frames bool) error {
	name := ours + ", " + mode
	if frames {
		name += ", emit: packet"
	}
	reflector, err := b.startManyPorts(mode, sweepTargets)
	if err != nil {
		return err
	}
	defer reflector.stop()
	err = m.climb(name, b.scale.kernelRates, func(rate int) (probed, error) { return b.sweepRate(reflector, rate, mode, frames) })
	return errors.Join(err, reflector.alive())
}

// passXDP gives the fabric's ports the program that native XDP at a host needs there.
func (b *bench) passXDP() error {
	for _, h := range []*lab.Host{b.place.near, b.place.far} {
		if err := b.place.lab.Fabric().PassXDP(h); err != nil {
			return err
		}
	}
	return nil
}

// startManyPorts reflects in the kernel at n ports from kernelPort on, the prober a peer
// whose rate never caps.
func (b *bench) startManyPorts(mode string, n int) (*process, error) {
	var ports []int
	for i := range n {
		ports = append(ports, kernelPort+i)
	}
	return b.startKernelReflectorAt(mode, ports, fmt.Sprintf("peers: [%s/32], rate_peers: 10000000", b.place.near.IPv4))
}
