package main

import (
	"fmt"
	"strconv"
	"time"
)

const (
	echoPort     = 9001
	goEchoPort   = 9002
	sockperfPort = 9003
	floorPort    = 9004
	irttPort     = 2112

	// The load: requests under way are loadPorts × loadWindow.
	loadPorts  = 64
	loadWindow = 16

	// socketBuffer in octets is what all reflectors have, so that none differs
	// by the length of its queue.
	socketBuffer = 4 << 20
)

const cEcho, goEcho, sockperfName, irttName = "C recvmmsg/sendmmsg echo", "Go loop echo", "sockperf", "irtt"

// reflectFloor is what no reflector over sockets with the kernel's stamps is below:
// it asks the kernel for what ours asks for, and keeps nothing (c/reflect.c).
const reflectFloor = "C reflector that keeps nothing"

// subject is something that reflects.
type subject struct {
	name  string
	port  int
	load  string // what load sends
	start func() (*process, error)
}

func (b *bench) subjects() []subject {
	far := b.place.far
	out := []subject{
		{ours, stampPort, "stamp", func() (*process, error) { return b.startReflector(measuredCore, 1) }},
		{cEcho, echoPort, "stamp", func() (*process, error) {
			return b.serve(far, measuredCore, echoPort, b.bin.echo, strconv.Itoa(echoPort), "64")
		}},
		{reflectFloor, floorPort, "stamp", func() (*process, error) {
			return b.serve(far, measuredCore, floorPort, b.bin.reflect, strconv.Itoa(floorPort))
		}},
		{goEcho, goEchoPort, "stamp", func() (*process, error) {
			return b.serve(far, measuredCore, goEchoPort, b.bin.goEcho, strconv.Itoa(goEchoPort))
		}},
	}
	if installed("sockperf") {
		out = append(out, subject{sockperfName, sockperfPort, "sockperf",
			func() (*process, error) { return b.startSockperf(measuredCore) }})
	}
	return out
}

// benchReflector saturates each reflector on a core of its own.
func benchReflector(b *bench) error {
	m := reflectorMetrics(&b.table)
	var turns []func() error
	for _, s := range b.subjects() {
		turns = append(turns, func() error { return b.saturate(s, &m) })
	}
	if installed("irtt") {
		turns = append(turns, func() error { return b.irttServer(&m) })
		b.table.note("irtt's server cannot be saturated: it answers its own client only, whose rate ends far below. " +
			"Its CPU a packet is at that rate, where less can be shared between packets.")
	}
	return b.rounds(turns...)
}

type reflecting struct{ perCore, perPacket, replies, busy, rss *metric }

func reflectorMetrics(t *table) reflecting {
	return reflecting{
		perCore: t.metric("reflector, saturated: packets reflected a CPU second (more is better)",
			"≥ 0.80 of the C echo"),
		perPacket: t.metric("reflector: CPU µs a packet (less is better)", ""),
		replies:   t.metric("reflector, saturated: replies/s that came back (more is better; other load on the machine takes from it)", ""),
		busy:      t.metric("reflector: its share of the core meanwhile, % (saturated: near 100)", ""),
		rss:       t.metric("reflector: resident memory under load, MB (less is better)", ""),
	}
}

func (b *bench) saturate(s subject, m *reflecting) error {
	p, err := s.start()
	if err != nil {
		return err
	}
	defer p.stop()
	var rate float64
	var lost int
	u, err := p.during(func() error {
		out, _, err := b.output(b.place.near, otherCore, b.bin.load, b.place.far.IPv4.String(), strconv.Itoa(s.port),
			seconds(b.scale.load), strconv.Itoa(loadPorts), strconv.Itoa(loadWindow), s.load)
		if err != nil {
			return err
		}
		_, err = fmt.Sscan(out, &rate, &lost)
		return err
	})
	if err != nil {
		return fmt.Errorf("load %s: %w", s.name, err)
	}
	packets := rate * b.scale.load.Seconds()
	if packets == 0 {
		return fmt.Errorf("load %s: no reply", s.name)
	}
	if lost > 0 {
		b.table.note("%s left requests of the load unanswered in a round (its queue overflowed while the core was taken away).", s.name)
	}
	m.add(s.name, u, packets)
	m.perCore.add(s.name, packets/u.cpu.Seconds())
	m.replies.add(s.name, rate)
	return nil
}

func (m *reflecting) add(who string, u usage, packets float64) {
	m.perPacket.add(who, u.cpu.Seconds()*1e6/packets)
	m.busy.add(who, u.percent())
	m.rss.add(who, u.rss)
}

// irttServer takes its CPU at the highest rate of its own client.
func (b *bench) irttServer(m *reflecting) error {
	p, err := b.startIRTT(measuredCore)
	if err != nil {
		return err
	}
	defer p.stop()
	var r peerRate
	u, err := p.during(func() (err error) {
		r, err = b.irttRate(otherCore, 20*time.Microsecond)
		return err
	})
	if err != nil {
		return err
	}
	m.add(irttName, u, r.received)
	return nil
}

// benchTurnaround asks what batching costs a single packet: nothing, if a batch
// is what is there already.
func benchTurnaround(b *bench) error {
	p50 := b.table.metric("round trip through the reflector at 100 requests/s, p50 µs, same client (less is better)", "")
	p99 := b.table.metric("round trip through the reflector at 100 requests/s, p99 µs, same client (less is better)",
		"no worse than unbatched")
	perPacket := b.table.metric("reflector at 100 requests/s: CPU µs a packet (less is better)", "")
	subjects := b.subjects()[:4] // the rest want clients of their own
	subjects = append(subjects, subject{"C echo, unbatched", echoPort, "", func() (*process, error) {
		return b.serve(b.place.far, measuredCore, echoPort, b.bin.echo, strconv.Itoa(echoPort), "1")
	}})
	var turns []func() error
	for _, s := range subjects {
		turns = append(turns, func() error {
			p, err := s.start()
			if err != nil {
				return err
			}
			defer p.stop()
			count := int(b.scale.turnaround / (10 * time.Millisecond))
			var median, high float64
			var lost int
			u, err := p.during(func() error {
				out, _, err := b.output(b.place.near, otherCore, b.bin.rtt, b.place.far.IPv4.String(),
					strconv.Itoa(s.port), strconv.Itoa(count), "10000")
				if err != nil {
					return err
				}
				_, err = fmt.Sscan(out, &median, &high, &lost)
				return err
			})
			if err != nil {
				return fmt.Errorf("ask %s: %w", s.name, err)
			}
			p50.add(s.name, median)
			p99.add(s.name, high)
			perPacket.add(s.name, u.cpu.Seconds()*1e6/float64(count-lost))
			return nil
		})
	}
	return b.rounds(turns...)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
