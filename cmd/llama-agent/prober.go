package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// A prober measures targets on request (/probe), from sockets and source ports of their
// own, within what the configuration allows. The zero value knows none.
type prober struct {
	strangers turnstile // targets that are not configured
	resolve   lookup    // nil: the system's

	mu   sync.Mutex // protects the fields below
	cfg  *config.Config
	busy map[string]chan struct{} // addresses that are measured now; closed at the end
}

const (
	probesAtOnce   = 16 // measurements, of one target each
	probesEach     = 10 // probes a class
	probesInterval = 50 * time.Millisecond
	probeTime      = 10 * time.Second // at most, for all of it
)

// use makes cfg the configuration of what is measured from now on.
func (p *prober) use(cfg *config.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = cfg
}

// probe is a [sink.ProbeFunc].
func (p *prober) probe(ctx context.Context, r sink.ProbeRequest) ([]probe.Path, error) {
	p.mu.Lock()
	cfg := p.cfg
	p.mu.Unlock()
	if cfg == nil {
		return nil, fmt.Errorf("probe: the agent has only begun to start: %w", sink.ErrBusy)
	}
	classes, err := classesAsked(cfg, r.Class)
	if err != nil {
		return nil, err
	}
	t := targetNamed(cfg, r.Target)
	if t == nil {
		if !cfg.API.ProbeAny || !r.Trusted {
			return nil, fmt.Errorf("target %.100q: %w", r.Target, sink.ErrNotConfigured)
		}
		leave, err := p.strangers.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		if t, err = p.stranger(ctx, cfg, r.Target); err != nil || t == nil {
			return nil, err
		}
	}
	leave, err := p.enter(ctx, t.Address)
	if err != nil {
		return nil, err
	}
	defer leave()
	room := probeTime
	if end, ok := ctx.Deadline(); ok {
		room = min(room, time.Until(end))
	}
	o, most, err := probeOptions(room, cfg, t, classes)
	if err != nil {
		return nil, err
	}
	var paths []probe.Path
	o.Emit = func(w *probe.Window) { paths = append(paths, w.Paths...) }
	c, err := collector.New(o)
	if err != nil {
		return nil, fmt.Errorf("probe %q: %w", t.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := c.Run(ctx); err != nil {
		return nil, fmt.Errorf("probe %q: %w", t.Name, err)
	}
	return paths, nil
}

// targetNamed is the target that the configuration has under a name; nil if there is none.
func targetNamed(cfg *config.Config, name string) *probe.Target {
	at := slices.IndexFunc(cfg.Targets, func(t probe.Target) bool { return t.Name == name })
	if at < 0 {
		return nil
	}
	return &cfg.Targets[at]
}

// classesAsked are the class of that name, or all if it is "".
func classesAsked(cfg *config.Config, name string) ([]probe.Class, error) {
	classes := cfg.Probing.Classes
	if name == "" {
		return classes, nil
	}
	i := slices.IndexFunc(classes, func(c probe.Class) bool { return c.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("class %.100q: %w", name, sink.ErrNotConfigured)
	}
	return classes[i : i+1], nil
}

// enter waits until nobody else has the address measured, by whatever name.
func (p *prober) enter(ctx context.Context, address string) (leave func(), err error) {
	for {
		p.mu.Lock()
		other, taken := p.busy[address]
		if !taken && len(p.busy) < probesAtOnce {
			done := make(chan struct{})
			if p.busy == nil {
				p.busy = map[string]chan struct{}{}
			}
			p.busy[address] = done
			p.mu.Unlock()
			return func() {
				p.mu.Lock()
				delete(p.busy, address)
				p.mu.Unlock()
				close(done)
			}, nil
		}
		p.mu.Unlock()
		if !taken {
			return nil, fmt.Errorf("probe %q: %d others are measured: %w", address, probesAtOnce, sink.ErrBusy)
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("probe %q: it is measured for others: %w", address, sink.ErrBusy)
		}
	}
}

// probeOptions makes a measurement that takes room at most, and no more than what the rates
// leave. most is when it has to send no more.
func probeOptions(room time.Duration, cfg *config.Config, t *probe.Target, classes []probe.Class) (o collector.Options, most time.Duration, err error) {
	timeout := min(cfg.Probing.Timing.Timeout, room/4)
	if timeout <= 0 {
		return o, 0, fmt.Errorf("probe %q: no time is left: %w", t.Name, sink.ErrBusy)
	}
	flows := float64(len(classes))
	if cfg.Probing.Family == config.FamilyBoth {
		flows *= 2
	}
	target, all := cfg.Spare(t)
	spare := min(target, all/probesAtOnce)
	most = room - 2*timeout
	if spare <= 0 || flows/spare > most.Seconds() {
		return o, 0, fmt.Errorf("probe %q: probing.max_rate or max_rate_per_target leaves no room: %w", t.Name, sink.ErrBusy)
	}
	interval := max(probesInterval, time.Duration(flows/spare*float64(time.Second)))
	o = collectorOptions(cfg)
	o.Plan = collector.Plan{Targets: []probe.Target{*t}, Classes: classes, Count: 1, Ports: func(n int) []uint16 { return make([]uint16, n) }}
	o.Timing = probe.Timing{Interval: interval, Timeout: timeout, Late: 2 * timeout}
	o.Count = min(probesEach, max(1, int(most/interval)))
	o.EmitPacket, o.AllFlow, o.MaxCPU = false, false, 0
	o.Log = slog.New(slog.DiscardHandler)
	return o, most, nil
}
