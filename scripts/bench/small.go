package main

import (
	"fmt"
	"strconv"
	"time"
)

// benchSmall is what most hosts do: a hundred probes a second, over a cable.
func benchSmall(b *bench) error {
	cpu := b.table.metric("100 probes/s: % of a core (less is better)", "≤ 1 %")
	rss := b.table.metric("100 probes/s: resident memory, MB (less is better)", "≤ 45 MB")
	add := func(who string, u usage) {
		cpu.add(who, u.percent())
		rss.add(who, u.rss)
	}
	against := func(add func(usage), run func() (probed, error)) func() error {
		return func() error {
			reflector, err := b.startReflector(otherCore, 1)
			if err != nil {
				return err
			}
			defer reflector.stop()
			r, err := run()
			if err == nil {
				add(r.usage)
			}
			return err
		}
	}
	waking := func(us string, to func(usage)) func() error {
		return func() error {
			// Idle virtual machines pay dearly for a timer; nobody probes for less.
			u, err := b.client(b.bin.nap, us)
			if err == nil {
				to(u)
			}
			return err
		}
	}
	called := func(who string) func(usage) { return func(u usage) { add(who, u) } }
	thousand := b.table.metric("1,000 probes/s, measured and answered in the kernel (in C: over sockets): % of a core (less is better)", "≤ 1 % more than 100 over sockets")
	inKernel := func(interval time.Duration, to func(usage)) func() error {
		return func() error {
			reflector, err := b.startManyPorts("tc", 10)
			if err != nil {
				return err
			}
			defer reflector.stop()
			r, err := b.probe(probing{targets: 10, ports: 10, interval: interval, kernel: "tc", at: b.place.far.IPv4}, b.scale.small)
			if err == nil {
				to(r.usage)
			}
			return err
		}
	}
	turns := []func() error{
		inKernel(time.Second, func(u usage) { add(ours+", tc, answered by tc", u) }),
		inKernel(100*time.Millisecond, func(u usage) { thousand.add(ours+", tc", u.percent()) }),
		against(called(ours), func() (probed, error) {
			return b.probe(probing{targets: 10, ports: 10, interval: time.Second}, b.scale.small)
		}),
		against(called(floorName), func() (probed, error) { return b.floor(10, 10, 100, b.scale.small) }),
		waking("10000", called("C, only waking up 100 times a second")),
		against(func(u usage) { thousand.add(floorName, u.percent()) }, func() (probed, error) { return b.floor(10, 10, 1000, b.scale.small) }),
		waking("1000", func(u usage) { thousand.add("C, only waking up 1,000 times a second", u.percent()) }),
	}
	far, more := b.place.far.IPv4.String(), b.scale.small+3*time.Second
	if installed("irtt") {
		turns = append(turns, func() error {
			server, err := b.startIRTT(otherCore)
			if err != nil {
				return err
			}
			defer server.stop()
			u, err := b.client("irtt", "client", "-i", "10ms", "-d", more.String(), "-q", far)
			if err == nil {
				add(irttName, u)
			}
			return err
		})
	}
	if installed("sockperf") {
		turns = append(turns, func() error {
			server, err := b.startSockperf(otherCore)
			if err != nil {
				return err
			}
			defer server.stop()
			u, err := b.client("sockperf", "ping-pong", "-i", far, "-p", strconv.Itoa(sockperfPort), "-m", "68",
				"--mps", "100", "-t", strconv.Itoa(int(more.Seconds())))
			if err == nil {
				add(sockperfName, u)
			}
			return err
		})
	}
	return b.place.cabled(b.ctx, func() error { return b.rounds(turns...) })
}

// client measures a peer's client in the middle of its run.
func (b *bench) client(name string, args ...string) (usage, error) {
	p, err := b.start(b.place.near, measuredCore, name, args...)
	if err != nil {
		return usage{}, err
	}
	defer p.stop()
	b.pause(time.Second) // it connects, or warms up
	u, err := p.during(func() error { b.pause(b.scale.small); return nil })
	if err != nil {
		return u, fmt.Errorf("measure %s: %w", name, err)
	}
	return u, nil
}
