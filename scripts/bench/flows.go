package main

import (
	"fmt"
	"time"
)

// flowsRate in probes/s is the same for all numbers of flows.
const flowsRate = 20_000

// benchFlows spreads one rate over ever more flows, 32 source ports a target: what a
// probe costs is to stay as it is, and a flow to be small. The prober measures over
// sockets, and in the kernel; the far host answers over sockets.
func benchFlows(b *bench) error {
	t := &b.table
	cost := t.metric("flows: CPU µs a probe at 20,000 probes/s (less is better)", "")
	flat := t.metric("flows: cost a probe with the most ÷ with the fewest", "flat: about 1")
	own := t.metric("flows: own memory of the process (resident, not of files), at the most, MB", "≤ 250 MB at 500,000")
	each := t.metric("flows: own memory, octets a flow, beyond that of 1,024 flows", "")
	maps := t.metric("flows: maps in the kernel, MB", "")
	trouble := t.metric("flows: lost + late + local_drop + refused, probes", "0")
	notSent := t.metric("flows: due and not sent, %", "")
	var turns []func() error
	for _, kernel := range []string{"", "tc"} {
		name := ours
		if kernel != "" {
			name += ", " + kernel
		}
		var first, least float64
		for _, targets := range b.scale.flowTargets {
			flows := float64(targets * sweepPorts)
			turns = append(turns, func() error {
				reflector, err := b.startReflector(otherCore, 4)
				if err != nil {
					return err
				}
				defer reflector.stop()
				interval := time.Duration(flows / flowsRate * float64(time.Second))
				p := probing{targets: targets, ports: sweepPorts, interval: interval, kernel: kernel, manyToo: true,
					window: 10 * time.Second, warm: interval + 15*time.Second}
				r, err := b.probe(p, b.scale.flows)
				if err != nil {
					return fmt.Errorf("probe %.0f flows: %w", flows, err)
				}
				who := fmt.Sprintf("%s, %s flows", name, number(flows))
				cost.add(who, r.perProbe())
				own.add(who, r.own)
				trouble.add(who, float64(r.totals.trouble()))
				notSent.add(who, r.totals.notSent())
				if kernel != "" {
					maps.add(who, r.maps)
				}
				switch targets {
				case b.scale.flowTargets[0]:
					first, least = r.perProbe(), r.own
				case b.scale.flowTargets[len(b.scale.flowTargets)-1]:
					flat.add(name, r.perProbe()/first)
					fallthrough
				default:
					each.add(who, (r.own-least)*1e6/(flows-float64(b.scale.flowTargets[0]*sweepPorts)))
				}
				return reflector.alive()
			})
		}
	}
	return b.once(turns...)
}
