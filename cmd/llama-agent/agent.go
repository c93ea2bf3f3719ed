package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/discover"
	"github.com/llama-agent/llama-agent/pkg/reflector"
	"github.com/llama-agent/llama-agent/pkg/sink"
	"github.com/llama-agent/llama-agent/pkg/watch"
)

// An agent is the parts of `run`, joined: windows go from the collector to the
// sinks, addresses of targets from the collector to the reflector's peers.
type agent struct {
	log     *slog.Logger
	stdout  io.Writer
	tables  bool        // there is no configuration: print a table of each window
	summary *sink.Queue // takes these tables; nil: none

	// Owned by the goroutine of run.
	cfg        *config.Config
	outputs    map[string]opened // those that are open, by place
	encodesFor probe.Host        // whose tags the outputs' lines have
	reflecting *part
	collecting *part
	serving    *part
	servesFor  probe.Host // whose tags the API has
	sweeping   *part

	// handover is held while a window is handed on, so that a reload changes the
	// outputs between two windows. It protects the fields below.
	handover sync.Mutex
	fanout   *sink.Fanout
	latest   *sink.Latest
	metrics  *sink.Metrics

	answered atomic.Pointer[collector.Collector] // the last collector

	watching   *part
	watched    *watch.Files      // nil: no files
	news       func()            // there is something new to load
	discovered *discover.Lists   // targets that are listed elsewhere; nil: none ever
	given      map[string][]byte // what the last load had of them; owned by the goroutine of run

	own    own // what the agent says of itself beside its parts' counters
	prober prober

	mu        sync.Mutex // protects the fields below
	reflector *reflector.Reflector
	kernel    *kernelPart
	collector *collector.Collector
	peers     []netip.Addr
	policy    *config.Config
	probing   bool // there are targets
	timing    probe.Timing
	lastEnd   time.Time // when the last window arrived here
}

// stopWithin bounds how long sinks may deliver after the last window.
const stopWithin = 5 * time.Second

// begin starts everything that cfg asks for; on an error, that of ctx for one, nothing is
// left running, and it may begin again.
func (a *agent) begin(ctx context.Context, cfg *config.Config) error {
	a.cfg = cfg
	if a.tables {
		a.summary = sink.NewQueue(sink.NewStream("stdout", a.stdout), sink.QueueOptions{Ordered: true, Log: a.log})
	}
	inKernel := func(cfg *config.Config) error { return a.beginKernel(ctx, cfg) } // which may wait for links
	for _, begin := range []func(*config.Config) error{a.beginSinks, a.beginReflector, inKernel, a.beginAPI, a.beginCollector} {
		if err := errors.Join(begin(cfg), ctx.Err()); err != nil {
			return errors.Join(err, a.end())
		}
	}
	return nil
}

// end stops the collector first, so that its last window is whole, and the sinks
// last, so that it is delivered.
func (a *agent) end() error {
	err := errors.Join(a.collecting.stop(), a.endKernel(), a.reflecting.stop(), a.serving.stop())
	return errors.Join(err, a.endSinks())
}

func (a *agent) beginReflector(cfg *config.Config) error {
	if len(cfg.Reflector.Listen) == 0 {
		return nil
	}
	r, err := reflector.New(reflectorOptions(cfg), a.log)
	if err != nil {
		return mendListen(err)
	}
	a.mu.Lock()
	a.reflector, a.policy = r, cfg
	a.mu.Unlock()
	a.reflecting = start(r.Run)
	a.log.Info("reflecting", "listen", r.Addrs())
	return nil
}

// beginKernel comes after the sockets, which answer what the kernel passes up.
func (a *agent) beginKernel(ctx context.Context, cfg *config.Config) error {
	a.mu.Lock()
	policy, targets := policyOf(cfg, a.peers), a.peers
	a.mu.Unlock()
	k, err := startKernel(ctx, cfg, policy, kernelProbing{targets, a.answers, a.covered}, a.log)
	a.mu.Lock()
	a.kernel = k
	a.mu.Unlock()
	return err
}

// endKernel comes before the sockets end.
func (a *agent) endKernel() error {
	a.mu.Lock()
	k := a.kernel
	a.kernel = nil
	a.mu.Unlock()
	return k.stop()
}

// answers is how many replies this host's own probes have had.
// It takes no lock: the kernel datapath asks while it holds its own.
func (a *agent) answers() uint64 {
	c := a.answered.Load()
	if c == nil {
		return 0
	}
	return c.Stats()["replies"]
}

// covered has the collector look anew at what the kernel measures.
func (a *agent) covered() {
	if c := a.answered.Load(); c != nil {
		c.Rediscover()
	}
}

func (a *agent) beginCollector(cfg *config.Config) error {
	a.mu.Lock()
	a.probing = len(cfg.Targets) > 0
	a.mu.Unlock()
	if len(cfg.Targets) == 0 {
		a.resolved(nil)
		a.log.Info("no targets: reflecting only")
		a.collecting = start(func(ctx context.Context) error { return a.emptyWindows(ctx, cfg.Probing.Timing.Window) })
		return nil
	}
	o := collectorOptions(cfg)
	o.Emit, o.Resolved, o.Log = a.window, a.resolved, a.log
	a.mu.Lock()
	o.Kernel = a.kernel.probes()
	a.mu.Unlock()
	c, err := collector.New(o)
	if err != nil {
		return fmt.Errorf("start collector: %w", err)
	}
	a.mu.Lock()
	a.collector, a.timing, a.lastEnd = c, cfg.Probing.Timing, time.Now()
	a.mu.Unlock()
	a.answered.Store(c)
	a.collecting = start(c.Run)
	a.log.Info("probing", "targets", len(cfg.Targets), "classes", len(cfg.Probing.Classes), "ports", cfg.Probing.Ports,
		"interval", cfg.Probing.Timing.Interval)
	return nil
}

// window takes one window from the collector. Nothing here waits for a sink.
func (a *agent) window(w *probe.Window) {
	a.mu.Lock()
	a.lastEnd = time.Now()
	a.mu.Unlock()
	a.handover.Lock()
	defer a.handover.Unlock()
	a.own.window(w)
	a.latest.Set(w)
	a.metrics.Add(w)
	notifyWindow(w)
	if a.summary != nil {
		var b bytes.Buffer
		printWindow(&b, w)
		a.summary.Enqueue(sink.Batch{Data: b.Bytes(), Lines: len(w.Paths) + 3})
	}
	err := errors.Join(a.fanout.Window(w), a.fanout.Agent(&sink.AgentStats{Time: w.End, Fields: a.fields(a.fanout)}))
	if err != nil {
		a.log.Error("lines withheld", "error", err)
	}
}

// emptyWindows has an agent that only reflects speak of itself as often as one that probes.
func (a *agent) emptyWindows(ctx context.Context, every time.Duration) error {
	var last time.Time
	for {
		end := time.Now().Truncate(every).Add(every)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(end)):
		}
		if !end.After(last) { // the clock was set back: no two lines of one time
			end = last.Add(time.Nanosecond)
		}
		last = end
		a.window(&probe.Window{Start: end.Add(-every), End: end})
	}
}

// resolved makes the targets' addresses the reflector's peers.
func (a *agent) resolved(states []collector.TargetState) {
	var addrs []netip.Addr
	for _, s := range states {
		if s.Err == nil { // what may not be probed is no peer either
			addrs = append(addrs, s.Addresses...)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	a.mu.Lock()
	a.peers = addrs
	a.mu.Unlock()
	a.updatePolicy()
}

func (a *agent) updatePolicy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reflector == nil {
		return
	}
	p := policyOf(a.policy, a.peers)
	if err := errors.Join(a.reflector.Update(p), a.kernel.update(a.policy, p, a.peers)); err != nil {
		a.log.Error("reflector keeps its sources", "error", err)
	}
}

// reload makes cfg the configuration. Parts that it does not change go on
// undisturbed; where the new one cannot be had, the old one goes on, cfg says so, and
// the next reload tries again. What ends badly is in the error and changes nothing of that.
func (a *agent) reload(ctx context.Context, cfg *config.Config) error {
	old := a.cfg
	a.cfg = cfg
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	host := hostOf(cfg)
	if !reflect.DeepEqual(a.encodesFor, host) || !slices.Equal(old.Sinks, cfg.Sinks) || old.Spool != cfg.Spool || old.Probing.Timing.Window != cfg.Probing.Timing.Window {
		note(a.reloadSinks(old, cfg))
	}
	note(a.fanout.Reopen()) // those that stay, too
	note(a.reloadReflector(old, cfg))
	if !sameKernel(old, cfg) || !a.kernel.fits(cfg) {
		note(a.endCollector()) // it reads the tables of the datapath that goes
		note(a.reloadKernel(ctx, old, cfg))
	}
	note(a.reloadCollector(old, cfg))
	silent := a.serving == nil && cfg.API.Listen != "" // neither the new address nor the old one was to be had the last time
	if silent || !reflect.DeepEqual(a.servesFor, host) || !reflect.DeepEqual(old.API, cfg.API) {
		note(a.reloadAPI(old, cfg))
	}
	return errors.Join(errs...)
}

func (a *agent) reloadReflector(old, cfg *config.Config) error {
	silent := a.reflecting == nil && len(cfg.Reflector.Listen) > 0 // neither the new addresses nor the old ones were to be had the last time
	same := !silent && slices.Equal(old.Reflector.Listen, cfg.Reflector.Listen) && old.Reflector.Device == cfg.Reflector.Device && old.Reflector.Legacy == cfg.Reflector.Legacy && old.Reflector.Workers == cfg.Reflector.Workers &&
		old.Reflector.Timestamps == cfg.Reflector.Timestamps && old.ClockError == cfg.ClockError
	if same {
		a.mu.Lock()
		a.policy = cfg
		a.mu.Unlock()
		a.updatePolicy()
		return nil
	}
	ended := a.reflecting.stop()
	a.mu.Lock()
	a.reflector, a.reflecting = nil, nil
	a.mu.Unlock()
	err := a.beginReflector(cfg)
	if err != nil {
		// The old addresses were ours a moment ago.
		err = errors.Join(err, a.beginReflector(old))
		cfg.Reflector = old.Reflector
	}
	a.updatePolicy()
	return errors.Join(ended, err)
}

// reloadKernel goes by way of the sockets, which answer meanwhile. What the end of
// the old datapath left undone does not end the new one.
func (a *agent) reloadKernel(ctx context.Context, old, cfg *config.Config) error {
	ended := a.endKernel()
	err := a.beginKernel(ctx, cfg)
	if err != nil {
		cfg.Datapath = old.Datapath
		err = errors.Join(err, a.beginKernel(ctx, cfg))
	}
	return errors.Join(ended, err)
}

// reloadCollector keeps sessions where only what is probed has changed.
func (a *agent) reloadCollector(old, cfg *config.Config) error {
	o, n := old.Probing, cfg.Probing
	same := a.collector != nil && len(cfg.Targets) > 0 && old.Host.Name == cfg.Host.Name && o.Timing == n.Timing &&
		o.Family == n.Family && o.Timestamps == n.Timestamps && slices.Equal(o.Source, n.Source) && o.Device == n.Device && reflect.DeepEqual(o.Allow, n.Allow) &&
		o.AllFlowLines == n.AllFlowLines && o.FlowSlow == n.FlowSlow && o.MaxFlowLines == n.MaxFlowLines &&
		o.MaxRate == n.MaxRate && o.MaxRatePerTarget == n.MaxRatePerTarget && o.MaxCPU == n.MaxCPU &&
		o.OneWay == n.OneWay && o.Emit == n.Emit && old.ClockError == cfg.ClockError
	if same {
		a.collector.Update(planOf(cfg))
		return nil
	}
	return errors.Join(a.endCollector(), a.beginCollector(cfg))
}

func (a *agent) endCollector() error {
	err := a.collecting.stop()
	a.mu.Lock()
	a.collector, a.collecting = nil, nil
	a.mu.Unlock()
	return err
}
