package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// benchKernelRTT asks how long a request is away from the fabric's port, the
// reflector's own time included: what the scheduler of a busy host does to a
// reflector over sockets, and not to one in the kernel.
func benchKernelRTT(b *bench) error {
	p50 := b.table.metric("round trip at the fabric's port, the reflector's own time included, 200 probes/s: p50 µs (less is better)", "")
	p99 := b.table.metric("round trip at the fabric's port, the reflector's own time included, 200 probes/s: p99 µs (less is better)", "")
	growth := b.table.metric("the same: p99 with a busy loop a core ÷ idle, round by round (less is better)", "in the kernel ≤ 1.5")
	var turns []func() error
	for _, mode := range []string{"socket", "tc", "native"} {
		idle := 0.0
		for _, busy := range []bool{false, true} {
			who := fmt.Sprintf("reflector over %s, %s", mode, map[bool]string{false: "idle", true: "a busy loop a core"}[busy])
			turns = append(turns, func() error {
				return b.withBusyLoops(busy, func() error {
					a, z, err := b.away(mode)
					if err != nil {
						return err
					}
					p50.add(who, a)
					p99.add(who, z)
					if busy {
						growth.add(strings.TrimSuffix(who, ", a busy loop a core"), z/idle)
					}
					idle = z
					return nil
				})
			})
		}
	}
	return b.rounds(turns...)
}

// away measures with a tap, whose stamps are the kernel's and wait for nobody.
func (b *bench) away(mode string) (p50, p99 float64, err error) {
	if mode == "native" {
		if err := b.place.lab.Fabric().PassXDP(b.place.far); err != nil {
			return 0, 0, err
		}
	}
	reflector, err := b.startReflectorBy(mode)
	if err != nil {
		return 0, 0, err
	}
	defer reflector.stop()
	tap, err := b.place.lab.Fabric().Tap(b.place.far)
	if err != nil {
		return 0, 0, err
	}
	const interval = 5 * time.Millisecond
	_, _, err = b.output(b.place.near, otherCore, b.bin.agent, "ping", "--mode", "socket", "--output", "json", "--interval", interval.String(), "--max-loss", "1",
		"--count", fmt.Sprint(int(b.scale.rtt/interval)), b.farTarget().String())
	records, tapErr := tap.Stop()
	if err != nil {
		return 0, 0, err
	}
	if tapErr != nil {
		return 0, 0, tapErr
	}
	return quantiles(turnarounds(records))
}

// turnarounds pairs what a tap at the reflector's port saw: µs from a request's
// passing to its reply's.
func turnarounds(records []lab.Record) (out []float64) {
	type key struct {
		port uint16
		seq  [4]byte
	}
	asked := map[key]int64{}
	for _, r := range records {
		switch {
		case r.Direction == lab.ToHost && r.Dst.Port() == stampPort:
			asked[key{r.Src.Port(), [4]byte(r.Head)}] = r.Time
		case r.Direction == lab.FromHost && r.Src.Port() == stampPort:
			if at, ok := asked[key{r.Dst.Port(), [4]byte(r.Head[24:])}]; ok {
				out = append(out, float64(r.Time-at)/1e3)
			}
		}
	}
	return out
}

func (b *bench) startReflectorBy(mode string) (*process, error) {
	if mode == "socket" {
		return b.startReflector(measuredCore, 1)
	}
	return b.startKernelReflector(mode, b.place.farPeers())
}
