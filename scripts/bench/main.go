// Command bench measures the agent beside its peers, on this machine and in one
// run, and prints one table: ours, theirs, and the ratio of the two.
//
// Absolute figures say as much about the machine as about the program, and
// shared machines differ from minute to minute: only ratios of runs that took
// turns mean something, and each comes with its spread.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/llama-agent/llama-agent/internal/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sections in the order of the table; their names may be given as arguments.
var sections = []struct {
	name   string
	run    func(*bench) error
	byName bool // only where it is asked for
}{
	{"reflector", benchReflector, false},
	{"turnaround", benchTurnaround, false},
	{"kernel", benchKernel, false},
	{"collector", benchCollector, false},
	{"measure", benchMeasure, false},
	{"targets", benchTargets, false},
	{"flows", benchFlows, false},
	{"small", benchSmall, false},
	{"rtt", benchRTT, false},
	{"kernelrtt", benchKernelRTT, false},
	{"deliver", benchDeliver, false},
	{"soak", benchSoak, true},
}

// A bench is what all sections share.
type bench struct {
	frames bool // what is measured sends frames, which no UDP counter has
	ctx    context.Context
	scale  scale
	bin    programs
	place  *place
	bpffs  string // folder for the agents' pins
	table  table
	waits  []float64 // % of the time, of each thing measured
}

func run(ctx context.Context, only []string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces")
	}
	dir, err := os.MkdirTemp("", "llama-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{ctx: ctx}
	if b.scale, err = newScale(); err != nil {
		return err
	}
	if b.bin, err = build(ctx, dir); err != nil {
		return err
	}
	b.bpffs = filepath.Join(dir, "bpf")
	unmount, err := lab.MountBPF(b.bpffs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	if b.place, err = newPlace(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.place.close()) }()
	start, load := time.Now(), loadAverage()
	for _, s := range sections {
		if !chosen(s.name, only) || s.byName && len(only) == 0 {
			continue
		}
		fmt.Fprintf(os.Stderr, "%4.0fs %s\n", time.Since(start).Seconds(), s.name)
		if err := s.run(b); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			// One section that cannot be measured does not end the others.
			b.table.note("%s: not measured: %v", s.name, err)
		}
	}
	b.table.note("Load average of the machine before it began: %s. Niceness of what was measured: %d.", load, b.scale.nice)
	b.table.note("Of the time, what was measured waited for its core because another program had it: %s %%.", spread(b.waits))
	b.table.print(os.Stdout, b.scale.rounds, time.Since(start))
	return nil
}

func chosen(name string, only []string) bool {
	for _, o := range only {
		if o == name {
			return true
		}
	}
	return len(only) == 0
}

// loadAverage is what else the machine had to do, over the last minute.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// rounds runs every turn once a round, so that whatever the machine does
// meanwhile meets all of them.
func (b *bench) rounds(turns ...func() error) error {
	for range b.scale.rounds {
		if err := b.once(turns...); err != nil {
			return err
		}
	}
	return nil
}

// once runs every turn in one round only: of what takes minutes.
func (b *bench) once(turns ...func() error) error {
	for _, turn := range turns {
		if err := errors.Join(b.ctx.Err(), turn()); err != nil {
			return err
		}
	}
	return nil
}

// pause is a sleep that ends with the bench.
func (b *bench) pause(d time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(d):
	}
}
