package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// own is what the agent says of itself beside the counters of its parts: how all probes
// ended, its process, its configuration and its host's clock. The zero value is that of
// an agent that has just begun.
type own struct {
	mu sync.Mutex // protects the fields below

	windows uint64
	probes  probe.Counts // of all windows
	late    probe.Hist   // of the last window: ns from a probe's due time to T1

	looked          time.Time     // when the last window came
	cpu             time.Duration // taken until then
	cores           probe.Opt     // taken in the window before
	reloads         [reloadOutcomes]uint64
	last            reloadOutcome
	hash            uint64        // of the configuration in force; 0: no file
	since           time.Time     // when it was loaded
	targets, listed int           // configured; of these from lists
	lists           []config.List // what became of them
	clock           time.Duration // what it says of the clock, see config.Config.ClockError
}

// reloadOutcome is what became of a configuration that was to be loaded.
type reloadOutcome uint8

const (
	reloadDone     reloadOutcome = iota // in force
	reloadPartial                       // in force but for a part, which is as it was
	reloadRefused                       // wrong: all is as it was
	reloadHeldBack                      // in force but for a list that shrank too much, which is as it was
	reloadOutcomes
)

// loaded notes the configuration that is in force from now on.
func (o *own) loaded(cfg *config.Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hash, o.since, o.clock = cfg.Hash, time.Now(), cfg.ClockError
	o.targets, o.listed, o.lists = len(cfg.Targets), cfg.TargetsFrom.Listed, cfg.TargetsFrom.Lists
}

func (o *own) reloaded(outcome reloadOutcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reloads[outcome]++
	o.last = outcome
}

// window counts what a window says; w stays as it is.
func (o *own) window(w *probe.Window) {
	usage, err := hostinfo.ReadUsage()
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.windows++
	o.late.Reset()
	for i := range w.Paths {
		p := &w.Paths[i]
		o.probes.Add(&p.Counts)
		if p.Clock != probe.ClockMixed {
			o.late.Merge(&p.SendLate)
		}
	}
	if o.cores = (probe.Opt{}); err == nil && !o.looked.IsZero() && now.After(o.looked) {
		o.cores = probe.Some((usage.CPU - o.cpu).Seconds() / now.Sub(o.looked).Seconds())
	}
	o.looked, o.cpu = now, usage.CPU
}

// fields returns what llama_agent says of it.
func (o *own) fields() []sink.AgentField {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.endings()
	if s, ok := o.late.Summary(); ok {
		out = append(out, sink.AgentFloat("probes_send_late_p99_us", s.P99/1e3), sink.AgentFloat("probes_send_late_max_us", s.Max/1e3))
	}
	out = append(out, o.process()...)
	out = append(out, o.configuration()...)
	return append(out, clockFields(sock.ReadClockQuality().Stated(o.clock))...)
}

// endings are the counts of [probe.Counts.Check]. HostDrops is not among them: it is
// known of the host, and stands on each path's line.
func (o *own) endings() (out []sink.AgentField) {
	c := &o.probes
	for _, f := range []struct {
		name string
		n    uint64
	}{
		{"windows", o.windows},
		{"probes_sent", c.Sent}, {"probes_received", c.Received}, {"probes_late", c.Late},
		{"probes_lost", c.Lost}, {"probes_lost_forward", c.LostForward}, {"probes_lost_reverse", c.LostReverse}, {"probes_lost_unsplit", c.LostUnsplit},
		{"probes_refused", c.Refused}, {"probes_unreachable", c.Unreachable}, {"probes_local_drop", c.LocalDrop},
		{"probes_not_sent", c.NotSent}, {"probes_duplicate", c.Duplicate}, {"probes_reordered", c.Reordered}, {"probes_corrupted", c.Corrupted},
	} {
		out = append(out, sink.AgentInt(f.name, int64(f.n)))
	}
	return out
}

func (o *own) process() (out []sink.AgentField) {
	if u, err := hostinfo.ReadUsage(); err == nil {
		out = append(out, sink.AgentFloat("process_cpu_seconds", u.CPU.Seconds()))
		if u.Resident > 0 {
			out = append(out, sink.AgentInt("process_resident_bytes", u.Resident))
		}
	}
	if o.cores.OK {
		out = append(out, sink.AgentFloat("process_cpu_cores", o.cores.Value))
	}
	return append(out, sink.AgentInt("process_goroutines", int64(runtime.NumGoroutine())))
}

func (o *own) configuration() (out []sink.AgentField) {
	if o.hash != 0 {
		out = append(out, sink.AgentInt("config_hash", int64(o.hash)))
	}
	if !o.since.IsZero() {
		out = append(out, sink.AgentInt("config_loaded_timestamp_seconds", o.since.Unix()),
			sink.AgentInt("config_targets", int64(o.targets)), sink.AgentInt("config_targets_listed", int64(o.listed)))
	}
	return append(out,
		sink.AgentInt("config_reloads_done", int64(o.reloads[reloadDone])),
		sink.AgentInt("config_reloads_partial", int64(o.reloads[reloadPartial])),
		sink.AgentInt("config_reloads_refused", int64(o.reloads[reloadRefused])),
		sink.AgentInt("config_reloads_held_back", int64(o.reloads[reloadHeldBack])),
		sink.AgentInt("config_last_reload_ok", oneIf(o.last == reloadDone)))
}

func clockFields(q sock.ClockQuality) []sink.AgentField {
	out := []sink.AgentField{sink.AgentInt("clock_synchronised", oneIf(q.Synchronized))}
	if q.MaxError >= 0 {
		out = append(out, sink.AgentFloat("clock_max_error_us", float64(q.MaxError)/1e3))
	}
	if q.EstError >= 0 {
		out = append(out, sink.AgentFloat("clock_est_error_us", float64(q.EstError)/1e3), sink.AgentFloat("clock_offset_us", float64(q.Offset)/1e3))
	}
	return out
}

func oneIf(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
