package main

import (
	"fmt"
	"strconv"
	"time"
)

// floorName is what no prober over sockets with the kernel's stamps is below:
// it sends, reads and adds up, and keeps nothing (c/probe.c).
const floorName = "C prober that keeps nothing"

// floor is one run of it, over the same flows as ours.
func (b *bench) floor(targets, ports, rate int, d time.Duration) (r probed, err error) {
	before, err := b.kernel()
	if err != nil {
		return r, err
	}
	p, err := b.start(b.place.near, measuredCore, b.bin.probe, many(0).String(), strconv.Itoa(targets), strconv.Itoa(ports), strconv.Itoa(rate))
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := b.waitSending(p, before.out); err != nil {
		return r, err
	}
	b.pause(300 * time.Millisecond)
	return b.sending(p, d)
}

// sweepFloor raises its rate as ours is raised.
func (b *bench) sweepFloor(m *sweep) error {
	reflector, err := b.startReflector(otherCore, 1)
	if err != nil {
		return err
	}
	defer reflector.stop()
	var best, bestCost float64
	for _, rate := range b.scale.rates {
		r, err := b.floor(sweepTargets, sweepPorts, rate, b.scale.sweep)
		if err != nil {
			return fmt.Errorf("probe at %d/s in C: %w", rate, err)
		}
		m.cpu.add(fmt.Sprintf("%s at %s/s", floorName, number(float64(rate))), r.percent())
		if r.rate() >= float64(rate)*(1-mostNotSent/100.) && r.rate() > best {
			best, bestCost = r.rate(), r.perProbe()
		}
	}
	m.highest.add(floorName, best)
	m.perProbe.add(floorName, bestCost)
	return reflector.alive()
}
