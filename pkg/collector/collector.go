package collector

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// resolveEvery is how often names, routes and the clock's error are looked up anew.
const resolveEvery = 30 * time.Second

// newsEvery is how often answers count while others are still awaited.
const newsEvery = time.Second

// A Collector probes a Plan until it is stopped. Its methods are safe for
// concurrent use.
type Collector struct {
	options  Options
	loop     *loop
	reporter *reporter
	resolver resolver
	changed  chan struct{} // the plan was replaced
	rerouted chan struct{} // the way by the device may have changed
	now      func() time.Time

	last  *resolvedPlan // as the loop was given it; only one goroutine resolves at a time
	asked int           // number of the plan whose names were all asked for last; -1: none

	mu     sync.Mutex // protects the fields below
	plan   Plan
	number int // of the plan: counts its changes
	states []TargetState
}

// New checks the options and opens what probing needs; Run begins it.
func New(o Options) (*Collector, error) {
	c, err := newSystemClock()
	if err != nil {
		return nil, err
	}
	return newCollector(o, c, net.DefaultResolver.LookupNetIP)
}

func newCollector(o Options, c clock, ask lookup) (*Collector, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l, err := newLoop(&o, c)
	if err != nil {
		return nil, err
	}
	var covers func(int) bool
	if o.Kernel != nil {
		covers = o.Kernel.Covers
	}
	made := &Collector{
		options: o, loop: l, plan: o.Plan, changed: make(chan struct{}, 1), rerouted: make(chan struct{}, 1), now: time.Now,
		reporter: &reporter{emit: o.Emit, all: o.AllFlow, slow: o.SlowFlow, most: o.MaxFlows, stats: &l.stats, drops: &hostDrops{}, grown: map[uint32]growth{}, log: o.Log, logEach: time.Minute},
		resolver: resolver{lookup: ask, family: o.Family, self: o.Self, host: o.Host, allow: o.Allow, covers: covers, sources: o.Sources, device: o.Device, known: map[string]answer{}},
		asked:    -1,
	}
	switch {
	case o.EmitPacket && o.Kernel != nil:
		made.resolver.hops = newNextHops(covers, o.Sources, o.Device, made.Rediscover, o.Log)
	case o.EmitPacket:
		l.packets.asked = false
		o.Log.Warn("probes leave from their UDP sockets, not as frames", "why", "nothing is measured in the kernel")
	}
	return made, nil
}

// Run probes until ctx ends or, with Options.Count, until all is sent and ended.
// It returns after the last window was handed over.
func (c *Collector) Run(ctx context.Context) error {
	ctx, stopResolving := context.WithCancel(ctx)
	defer stopResolving()
	c.reporter.drops.sample()
	var reporting, resolving sync.WaitGroup
	reporting.Go(func() { c.reporter.run(c.loop.reports) })
	// Addresses first, so that no slow name delays them.
	c.resolve(ctx)
	resolving.Go(func() { c.keepResolved(ctx) })
	if c.resolver.hops != nil {
		resolving.Go(func() { c.resolver.hops.run(ctx) })
	}
	if c.options.Device != "" {
		resolving.Go(func() { c.followDevice(ctx) })
	}
	c.loop.run(ctx)
	stopResolving()
	resolving.Wait()
	reporting.Wait()
	c.resolver.hops.close()
	return c.loop.close()
}

// Update replaces what is probed; sessions that stay go on undisturbed.
func (c *Collector) Update(p Plan) {
	c.mu.Lock()
	c.plan = p
	c.number++
	c.mu.Unlock()
	c.Rediscover()
}

// Rediscover looks the targets and the ways to them up anew, soon: what the kernel
// covers has changed.
func (c *Collector) Rediscover() { wake(c.changed) }

// Targets returns what is known of each target.
func (c *Collector) Targets() []TargetState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.states)
}

// A round looks up all names of a plan.
type round struct {
	number  int           // of the plan
	answers <-chan answer // nil: it is over
	stop    context.CancelFunc
}

func (c *Collector) newRound(ctx context.Context) round {
	plan, number := c.current()
	ctx, stop := context.WithCancel(ctx)
	return round{number, c.resolver.ask(ctx, c.resolver.names(plan.Targets)), stop}
}

// keepResolved waits for no lookup: while DNS is silent a round takes minutes, and a new plan
// is to count at once, with the addresses that are known.
func (c *Collector) keepResolved(ctx context.Context) {
	tick := time.NewTicker(resolveEvery)
	defer tick.Stop()
	var news <-chan time.Time // nil: what is known has all been used
	r, again := c.newRound(ctx), false
	for {
		if again && r.answers == nil {
			r, again = c.newRound(ctx), false
		}
		select {
		case <-ctx.Done():
			r.end()
			return
		case a, more := <-r.answers:
			if !more {
				r.end()
				news, c.asked = nil, r.number
				c.resolve(ctx)
			} else if c.resolver.take(a) && news == nil {
				news = time.After(newsEvery)
			}
		case <-news:
			news = nil
			c.resolve(ctx)
		case <-tick.C:
			if r.answers == nil {
				again = true
				continue
			}
			c.resolve(ctx) // routes and the clock's error do not wait for names either
		case <-c.changed:
			c.resolve(ctx)
			again = true
			if _, number := c.current(); number != r.number {
				r.stop() // the next one begins with the names that are new
			}
		case <-c.rerouted:
			c.reroute(ctx)
		}
	}
}

// end returns once no lookup is under way.
func (r *round) end() {
	r.stop()
	if r.answers != nil {
		for range r.answers {
			// Nobody wants them any more.
		}
	}
	r.answers = nil
}

func (c *Collector) current() (Plan, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plan, c.number
}

// resolve hands the loop the plan with the addresses that are known now.
func (c *Collector) resolve(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	plan, number := c.current()
	c.resolver.most = c.options.mostAtAddress(&plan)
	endpoints, states := c.resolver.resolve(plan.Targets)
	c.mu.Lock()
	before := c.states
	c.states = states
	c.mu.Unlock()
	c.logChanges(before, states)
	if c.options.Resolved != nil {
		c.options.Resolved(states)
	}
	q := sock.ReadClockQuality().Stated(c.options.ClockError)
	c.loop.estimate.Store(uint32(stamp.NewErrorEstimate(q.Synchronized, c.options.Format, q.MaxError)))
	next := resolvedPlan{
		Plan: plan, number: number, step: plan.step(c.now()), endpoints: endpoints, device: c.resolver.now,
		complete: c.asked == number,
		wire:     stamp.Clock{Format: c.options.Format, TAIOffset: q.TAIOffset},
	}
	if c.last != nil && c.last.same(&next) && !c.loop.broken.Load() {
		return // the loop need not look through all flows for nothing
	}
	c.last = &next
	c.loop.plan.Store(&next)
}

// logChanges says once of each target that it cannot be probed, or can again.
func (c *Collector) logChanges(before, now []TargetState) {
	was := make(map[string]string, len(before))
	for _, s := range before {
		if s.Err != nil && !errors.Is(s.Err, errPending) {
			was[s.Name] = s.Err.Error()
		}
	}
	for _, s := range now {
		switch {
		case errors.Is(s.Err, errThisHost), errors.Is(s.Err, errPending):
		case s.Err != nil && was[s.Name] != s.Err.Error():
			c.options.Log.Warn("target not probed", "target", s.Name, "error", s.Err)
		case s.Err == nil && was[s.Name] != "":
			c.options.Log.Info("target probed again", "target", s.Name, "address", s.Addresses)
		}
	}
}
