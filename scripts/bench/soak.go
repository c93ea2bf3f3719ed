package main

import (
	"fmt"
	"strings"
	"time"
)

// soakRate in probes/s.
const soakRate = 50_000

// benchSoak probes a path that loses nothing for long, over sockets and in the kernel: no
// probe may be lost, and what this host dropped of the replies has to be among what its
// interfaces and queues say that they dropped. It is run by name only.
func benchSoak(b *bench) error {
	lost := b.table.metric("soak: lost, probes", "0")
	unexplained := b.table.metric("soak: local_drop that neither host_drops of its line nor the kernel's count of drops at sockets explains, probes", "0")
	for _, kernel := range []string{"", "tc"} {
		name := ours
		if kernel != "" {
			name += ", " + kernel
		}
		r, err := b.soak(kernel)
		if err != nil {
			return err
		}
		lost.add(name, float64(r.totals["lost"]))
		unexplained.add(name, float64(max(0, r.totals[bareDrops]-int64(r.kernel.nearDrops))))
		b.table.note("%s, %s at %s probes/s: %s; the kernel: %d sent, %d dropped at the prober's sockets, %d at the reflector's.", name,
			b.scale.soak, number(soakRate), r.totals, r.kernel.out, r.kernel.nearDrops, r.kernel.farDrops)
	}
	return nil
}

func (b *bench) soak(kernel string) (probed, error) {
	p := probing{targets: sweepTargets, ports: sweepPorts, interval: sweepTargets * sweepPorts * time.Second / soakRate, kernel: kernel, at: b.place.far.IPv4}
	start := func() (*process, error) { return b.startReflector(otherCore, 1) }
	if kernel != "" {
		start = func() (*process, error) { return b.startManyPorts(kernel, sweepTargets) }
	}
	reflector, err := start()
	if err != nil {
		return probed{}, err
	}
	defer reflector.stop()
	r, err := b.probe(p, b.scale.soak)
	if err != nil {
		return r, fmt.Errorf("probe for %s: %w", b.scale.soak, err)
	}
	return r, reflector.alive()
}

// counted are the fields of a soak's totals, in the order of the line.
var counted = []string{"sent", "received", "late", "lost", "lost_forward", "lost_reverse", "lost_unsplit", "refused", "unreachable", "local_drop",
	"not_sent", "host_drops", "duplicate", "reordered", "corrupted"}

func (t totals) String() string {
	var all []string
	for _, name := range counted {
		all = append(all, fmt.Sprintf("%s %d", name, t[name]))
	}
	return strings.Join(all, ", ")
}
