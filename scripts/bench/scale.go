package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// scale is how long everything takes.
type scale struct {
	nice        int // niceness of everything that is measured
	rounds      int
	load        time.Duration // saturating a reflector
	turnaround  time.Duration
	sweep       time.Duration // one rate of a collector
	rates       []int         // probes/s
	kernelRates []int         // likewise, where the kernel measures
	targets     time.Duration // one number of targets
	targetSteps []int
	flows       time.Duration // one number of flows
	flowTargets []int         // of sweepPorts flows each
	soak        time.Duration
	small       time.Duration
	rtt         time.Duration
	irtt        []time.Duration // intervals, for its highest rate
	sockperf    []int           // messages/s, for its highest rate
	peer        time.Duration
}

// newScale reads BENCH_QUICK and BENCH_NICE. The whole takes about 20 minutes,
// the quick one about 8.
func newScale() (scale, error) {
	s := scale{
		rounds: 3,
		load:   2 * time.Second, turnaround: 3 * time.Second,
		sweep: 2500 * time.Millisecond, rates: []int{20_000, 40_000, 60_000, 80_000, 100_000, 120_000, 150_000},
		kernelRates: []int{50_000, 100_000, 150_000, 200_000, 250_000, 400_000},
		targets:     5 * time.Second, targetSteps: []int{10, 100, 1_000, 10_000},
		flows: 12 * time.Second, flowTargets: []int{32, 1_000, 15_625},
		soak:  10 * time.Minute,
		small: 4 * time.Second, rtt: 4 * time.Second,
		irtt:     []time.Duration{100 * time.Microsecond, 20 * time.Microsecond},
		sockperf: []int{50_000, 100_000, 200_000},
		peer:     2 * time.Second,
	}
	if text := os.Getenv("BENCH_NICE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < -20 || n > 19 {
			return s, fmt.Errorf("BENCH_NICE is %q: want -20 to 19", text)
		}
		s.nice = n
	}
	if os.Getenv("BENCH_QUICK") != "" {
		s.rounds = 1
		s.soak = 20 * time.Second
		s.rates = []int{20_000, 60_000, 100_000}
		s.kernelRates = []int{50_000, 150_000, 400_000}
		s.irtt, s.sockperf = s.irtt[1:], s.sockperf[:2]
		s.sweep, s.rtt = 2*time.Second, 3*time.Second
	}
	return s, nil
}
