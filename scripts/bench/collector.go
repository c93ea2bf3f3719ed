package main

import (
	"errors"
	"fmt"
	"time"
)

// The flows of the sweep: sweepTargets × sweepPorts.
const (
	sweepTargets = 16
	sweepPorts   = 32
)

const (
	// mostNotSent is the share of probes, in percent, that may be skipped at a
	// rate that still counts as reached.
	mostNotSent = 1
	// mostStolen is for how much of the time, in percent, another program may
	// have had a core.
	mostStolen = 5
)

type sweep struct {
	highest, trouble, notSent, cpu, perProbe, rss *metric
	perCore, sent                                 *metric // nil: not asked for
}

// benchCollector raises the rate until a collector loses what no network lost.
func benchCollector(b *bench) error {
	t := &b.table
	m := sweep{
		highest:  t.metric("collector: highest rate without false loss, probes/s (more is better)", ""),
		trouble:  t.metric("collector: lost + late + local_drop + refused, probes, by rate offered", "0"),
		notSent:  t.metric("collector: due and not sent, %, by rate offered", ""),
		cpu:      t.metric("collector: % of a core, by rate offered", ""),
		rss:      t.metric("collector: resident memory, MB, by rate offered", ""),
		perProbe: t.metric("collector at its highest rate: CPU µs a probe, sent and received (less is better)", ""),
	}
	turns := []func() error{func() error { return b.sweepOurs(&m) }, func() error { return b.sweepFloor(&m) }}
	if installed("irtt") {
		turns = append(turns, func() error { return b.sweepIRTT(&m) })
	}
	if installed("sockperf") {
		turns = append(turns, func() error { return b.sweepSockperf(&m) })
		t.note("sockperf's client waits for its next message in a loop: its CPU is the core's, whatever the rate.")
	}
	return b.rounds(turns...)
}

func (b *bench) sweepOurs(m *sweep) error {
	reflector, err := b.startReflector(otherCore, 1)
	if err != nil {
		return err
	}
	defer reflector.stop()
	err = m.climb(ours, b.scale.rates, func(rate int) (probed, error) {
		r, err := b.sweepRate(reflector, rate, "", false)
		if err == nil {
			b.crossCheck(r)
		}
		return r, err
	})
	return errors.Join(err, reflector.alive())
}

// climb probes at one rate after the other, and keeps the highest that lost nothing.
func (m *sweep) climb(name string, rates []int, probe func(rate int) (probed, error)) error {
	var best, bestCost float64
	for _, rate := range rates {
		r, err := probe(rate)
		if err != nil {
			return fmt.Errorf("probe at %d/s by %s: %w", rate, name, err)
		}
		who := fmt.Sprintf("%s at %s/s", name, number(float64(rate)))
		m.trouble.add(who, float64(r.totals.trouble()))
		m.notSent.add(who, r.totals.notSent())
		m.cpu.add(who, r.percent())
		m.rss.add(who, r.rss)
		if m.sent != nil {
			m.sent.add(who, r.rate())
		}
		if r.totals.trouble() == 0 && r.totals.notSent() <= mostNotSent && r.rate() > best {
			best, bestCost = r.rate(), r.perProbe()
		}
	}
	m.highest.add(name, best)
	m.perProbe.add(name, bestCost)
	if m.perCore != nil && bestCost > 0 {
		m.perCore.add(name, 1e6/bestCost)
	}
	return nil
}

// sweepRate probes at one rate, over sockets or by a step of the kernel. If another program took the cores meanwhile and
// probes went missing, that says nothing: it is tried again, twice.
func (b *bench) sweepRate(reflector *process, rate int, kernel string, frames bool) (r probed, err error) {
	const flows = sweepTargets * sweepPorts
	p := probing{
		targets: sweepTargets, ports: sweepPorts,
		interval: time.Duration(flows / float64(rate) * float64(time.Second)),
		kernel:   kernel, frames: frames, at: b.place.far.IPv4,
	}
	for try := 1; ; try++ {
		before := reflector.waited()
		if r, err = b.probe(p, b.scale.sweep); err != nil {
			return r, err
		}
		stolen := max(percent(r.waited, r.elapsed), percent(reflector.waited()-before, r.elapsed))
		missing := r.totals.trouble() > 0 || r.totals.notSent() > mostNotSent
		if !missing || stolen < mostStolen || try == 3 {
			return r, nil
		}
		b.table.note("Rates at which probes went missing while another program had a core for more than %d %% of the time were tried again.", mostStolen)
	}
}

// toItself is how many datagrams the agent sends itself at the most when it starts
// (sock.AwaitStamps): the kernel counts them as sent too.
const toItself = 50

// crossCheck holds the agent's own counts against the kernel's.
func (b *bench) crossCheck(r probed) {
	if sent := uint64(r.totals["sent"]); r.kernel.out < sent || r.kernel.out > sent+toItself {
		b.table.note("The kernel counted other numbers of probes sent than the agent in a round, such as %d and %d.", r.kernel.out, sent)
	}
	if r.kernel.nearDrops > uint64(r.totals["local_drop"]) {
		b.table.note("The kernel dropped more replies at the prober (%d) than the agent reported (%d).", r.kernel.nearDrops, r.totals["local_drop"])
	}
	if r.kernel.farDrops > 0 {
		b.table.note("In a round of the sweep the reflector's socket overflowed (%d): loss there is not the collector's.", r.kernel.farDrops)
	}
}

func (b *bench) sweepIRTT(m *sweep) error {
	server, err := b.startIRTT(otherCore)
	if err != nil {
		return err
	}
	defer server.stop()
	var best peerRate
	for _, interval := range b.scale.irtt {
		r, err := b.irttRate(measuredCore, interval)
		if err != nil {
			return err
		}
		best = better(best, r)
	}
	m.add(irttName, best)
	return server.alive()
}

func (b *bench) sweepSockperf(m *sweep) error {
	server, err := b.startSockperf(otherCore)
	if err != nil {
		return err
	}
	defer server.stop()
	var best peerRate
	for _, rate := range b.scale.sockperf {
		r, err := b.sockperfRate(measuredCore, rate)
		if err != nil {
			return err
		}
		best = better(best, r)
	}
	m.add(sockperfName, best)
	return server.alive()
}

func (m *sweep) add(who string, best peerRate) {
	m.highest.add(who, best.rate)
	if best.sent > 0 {
		m.perProbe.add(who, best.cpu.Seconds()*1e6/best.sent)
	}
}

// better is the faster one of those that lost nothing.
func better(a, b peerRate) peerRate {
	if b.lost() == 0 && b.rate > a.rate {
		return b
	}
	return a
}

// benchTargets spreads one rate over ever more targets.
func benchTargets(b *bench) error {
	const rate = 10_000
	t := &b.table
	cost := t.metric("collector: CPU µs a probe at 10,000 probes/s, by targets", "")
	trouble := t.metric("collector: lost + late + local_drop + refused at 10,000 probes/s, by targets", "0")
	rss := t.metric("collector: resident memory, MB, at 10,000 probes/s, by targets", "")
	flat := t.metric("collector: cost a probe with the most targets ÷ with the fewest", "flat: about 1")
	return b.rounds(func() error {
		// One source has 10,000 sessions here, which in a fabric are spread over
		// as many reflectors: four workers hold them all.
		reflector, err := b.startReflector(otherCore, 4)
		if err != nil {
			return err
		}
		defer reflector.stop()
		var first, last float64
		for _, n := range b.scale.targetSteps {
			p := probing{targets: n, ports: 1, interval: time.Duration(n) * time.Second / rate, window: 5 * time.Second}
			r, err := b.probe(p, b.scale.targets)
			if err != nil {
				return fmt.Errorf("probe %d targets: %w", n, err)
			}
			who := fmt.Sprintf("%s, %s targets", ours, number(float64(n)))
			cost.add(who, r.perProbe())
			trouble.add(who, float64(r.totals.trouble()))
			rss.add(who, r.rss)
			if last = r.perProbe(); first == 0 {
				first = last
			}
		}
		flat.add(ours, last/first)
		return reflector.alive()
	})
}
