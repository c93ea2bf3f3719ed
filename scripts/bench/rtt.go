package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/llama-agent/llama-agent/internal/lab"
)

const rttInterval = 5 * time.Millisecond

// benchRTT compares what the tools report at 200 probes/s, on an idle machine and
// with a busy loop a core, and ours with what a tap in the fabric saw of the same
// probes.
func benchRTT(b *bench) error {
	m := rttRows{
		hop:    b.table.metric("ours, RTT as reported less that of a tap in the fabric, same probes: minimum, µs (the hop between stamps and tap)", ""),
		off50:  b.table.metric("the same, that hop taken out: p50 µs (0 is the truth)", "within 5"),
		off99:  b.table.metric("the same, that hop taken out: p99 µs (0 is the truth)", "within 10"),
		growth: b.table.metric("ours, RTT as reported: p99 with a busy loop a core ÷ idle, round by round (less is better)", "in the kernel ≤ 1.5"),
		idle:   map[string]float64{},
	}
	for _, busy := range []bool{false, true} {
		if err := b.reportedRTT(&m, busy); err != nil {
			return err
		}
	}
	return nil
}

type rttRows struct {
	p50, p99, hop, off50, off99, growth *metric
	idle                                map[string]float64 // p99, by mode and round
}

func (b *bench) reportedRTT(m *rttRows, busy bool) error {
	state := "idle"
	if busy {
		state = "a busy loop a core"
	}
	m.p50 = b.table.metric("RTT as reported at 200 probes/s, "+state+": p50 µs (less is nearer to the wire)", "")
	m.p99 = b.table.metric("RTT as reported at 200 probes/s, "+state+": p99 µs (less is nearer to the wire)", "")
	add := func(who string, a, z float64) {
		m.p50.add(who, a)
		m.p99.add(who, z)
	}
	var turns []func() error
	for _, mode := range []string{"socket", "tc", "native"} {
		round := 0
		turns = append(turns, func() error {
			round++
			return b.ourRTT(m, mode, fmt.Sprintf("%s %d", mode, round), busy, state, add)
		})
	}
	parts := b.rttParts()
	turns = append(turns, func() error { return b.divideRTT(parts, state) })
	if installed("irtt") {
		turns = append(turns, b.peerRTT(irttName, b.startIRTT, b.irttRTT, add))
	}
	if installed("sockperf") {
		turns = append(turns, b.peerRTT(sockperfName, b.startSockperf, b.sockperfRTT, add))
	}
	for i, turn := range turns {
		turns[i] = func() error { return b.withBusyLoops(busy, turn) }
	}
	return b.rounds(turns...)
}

// ourRTT has both ends at one step of the ladder.
func (b *bench) ourRTT(m *rttRows, mode, round string, busy bool, state string, add func(who string, p50, p99 float64)) error {
	if mode == "native" {
		if err := b.passXDP(); err != nil {
			return err
		}
	}
	reflector, err := b.startReflectorBy(mode)
	if err != nil {
		return err
	}
	defer reflector.stop()
	tap, err := b.place.lab.Fabric().Tap(b.place.near)
	if err != nil {
		return err
	}
	out, _, err := b.output(b.place.near, otherCore, b.bin.agent, "ping", "--mode", mode, "--output", "json", "--interval", rttInterval.String(),
		"--max-loss", "1", "--count", fmt.Sprint(int(b.scale.rtt/rttInterval)), b.farTarget().String())
	records, tapErr := tap.Stop()
	if err != nil {
		return err
	}
	if tapErr != nil {
		return tapErr
	}
	var report struct {
		RTT struct{ Min, P50, P99 float64 } `json:"rtt_us"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return fmt.Errorf("read ping: %w", err)
	}
	var wire []float64
	for _, r := range lab.RTTTruth(records, lab.TruthOptions{}).RTTs {
		wire = append(wire, float64(r.Network)/1e3)
	}
	a, z, err := quantiles(wire)
	if err != nil {
		return err
	}
	who := ours + ", " + mode
	add(who, report.RTT.P50, report.RTT.P99)
	add("the wire meanwhile, by a tap in the fabric, "+mode, a, z)
	hop := report.RTT.Min - slices.Min(wire)
	m.hop.add(who+", "+state, hop)
	m.off50.add(who+", "+state, report.RTT.P50-a-hop)
	m.off99.add(who+", "+state, report.RTT.P99-z-hop)
	if busy {
		m.growth.add(who, report.RTT.P99/m.idle[round])
	} else {
		m.idle[round] = report.RTT.P99
	}
	return nil
}

func (b *bench) peerRTT(who string, start func(core int) (*process, error), measure func() (p50, p99 float64, err error),
	add func(who string, p50, p99 float64)) func() error {
	return func() error {
		server, err := start(measuredCore)
		if err != nil {
			return err
		}
		defer server.stop()
		a, z, err := measure()
		if err == nil {
			add(who, a, z)
		}
		return err
	}
}

// withBusyLoops keeps every core busy while fn runs.
func (b *bench) withBusyLoops(busy bool, fn func() error) error {
	if busy {
		for _, core := range []int{otherCore, measuredCore} {
			p, err := b.start(b.place.far, core, "sh", "-c", "while :; do :; done")
			if err != nil {
				return err
			}
			defer p.stop()
		}
	}
	return fn()
}
