package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// benchRTT compares what the tools report at 100 probes/s, on an idle machine and
// with a busy loop a core.
func benchRTT(b *bench) error {
	for _, busy := range []bool{false, true} {
		if err := b.reportedRTT(busy); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) reportedRTT(busy bool) error {
	state := "idle"
	if busy {
		state = "a busy loop a core"
	}
	p50 := b.table.metric("RTT as reported at 100 probes/s, "+state+": p50 µs (less is nearer to the wire)", "")
	p99 := b.table.metric("RTT as reported at 100 probes/s, "+state+": p99 µs (less is nearer to the wire)", "")
	add := func(who string, a, z float64) {
		p50.add(who, a)
		p99.add(who, z)
	}
	turns := []func() error{func() error { return b.ourRTT(add) }}
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

// ourRTT reports too what a tap in the fabric saw of the same probes.
func (b *bench) ourRTT(add func(who string, p50, p99 float64)) error {
	reflector, err := b.startReflector(measuredCore, 1)
	if err != nil {
		return err
	}
	defer reflector.stop()
	tap, err := b.place.lab.Fabric().Tap(b.place.near)
	if err != nil {
		return err
	}
	out, _, err := b.output(b.place.near, otherCore, b.bin.agent, "ping", "--output", "json", "--interval", "10ms", "--max-loss", "1",
		"--count", fmt.Sprint(int(b.scale.rtt/(10*time.Millisecond))), b.farTarget().String())
	records, tapErr := tap.Stop()
	if err != nil {
		return err
	}
	if tapErr != nil {
		return tapErr
	}
	var report struct {
		RTT struct{ P50, P99 float64 } `json:"rtt_us"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return fmt.Errorf("read ping: %w", err)
	}
	add(ours, report.RTT.P50, report.RTT.P99)
	var wire []float64
	for _, r := range lab.RTTTruth(records, lab.TruthOptions{}).RTTs {
		wire = append(wire, float64(r.Network)/1e3)
	}
	a, z, err := quantiles(wire)
	if err == nil {
		add("the wire: ours, by a tap in the fabric", a, z)
	}
	return err
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
