package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// rttParts are the rows that tell whose the difference between a reported RTT and the
// fabric's is: the measurement's (T1 to the prober's own interface, and from there to T4), or
// the hop's (from there to the fabric's port, both ways).
type rttParts struct{ ours, hop *metric }

func (b *bench) rttParts() rttParts {
	return rttParts{
		ours: b.table.metric("ours (tc), RTT as reported less that of a tap on the prober's own interface, same probes: minimum, then p50 and p99 beyond it, µs", ""),
		hop:  b.table.metric("the hop from there to the fabric's port and back, a probe at a time: minimum, then p50 and p99 beyond it, µs", ""),
	}
}

// divideRTT measures as ourRTT does, in mode tc, with a second tap: it is in the way of the
// probes, so that its run says nothing of the others.
func (b *bench) divideRTT(m rttParts, state string) error {
	reflector, err := b.startReflectorBy("tc")
	if err != nil {
		return err
	}
	defer reflector.stop()
	fabric, err := b.place.lab.Fabric().Tap(b.place.near)
	if err != nil {
		return err
	}
	host, err := b.place.lab.Fabric().TapHost(b.place.near)
	if err != nil {
		return err
	}
	out, _, err := b.output(b.place.near, otherCore, b.bin.agent, "ping", "--mode", "tc", "--output", "json", "--interval", rttInterval.String(),
		"--max-loss", "1", "--count", fmt.Sprint(int(b.scale.rtt/rttInterval)), b.farTarget().String())
	atHost, hostErr := host.Stop()
	atFabric, fabricErr := fabric.Stop()
	for _, err := range []error{err, hostErr, fabricErr} {
		if err != nil {
			return err
		}
	}
	var report struct {
		RTT struct{ Min, P50, P99 float64 } `json:"rtt_us"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return fmt.Errorf("read ping: %w", err)
	}
	wire := map[uint32]float64{}
	for _, r := range lab.RTTTruth(atFabric, lab.TruthOptions{}).RTTs {
		wire[r.Sequence] = float64(r.Network) / 1e3
	}
	var own, hop []float64
	for _, r := range lab.RTTTruth(atHost, lab.TruthOptions{}).RTTs {
		us := float64(r.Network) / 1e3
		own = append(own, us)
		if w, ok := wire[r.Sequence]; ok {
			hop = append(hop, us-w)
		}
	}
	p50, p99, err := quantiles(own)
	if err != nil {
		return err
	}
	least := report.RTT.Min - slices.Min(own)
	m.ours.add(state+": minimum", least)
	m.ours.add(state+": p50", report.RTT.P50-p50-least)
	m.ours.add(state+": p99", report.RTT.P99-p99-least)
	least = slices.Min(hop)
	if p50, p99, err = quantiles(hop); err != nil {
		return err
	}
	m.hop.add(state+": minimum", least)
	m.hop.add(state+": p50", p50-least)
	m.hop.add(state+": p99", p99-least)
	return nil
}
