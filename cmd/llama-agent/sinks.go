package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// opened is an output, and the configuration that it has now.
type opened struct {
	output sink.Output
	sink   config.Sink
	queue  sink.QueueOptions
}

func (a *agent) beginSinks(cfg *config.Config) error { return a.reloadSinks(cfg, cfg) }

// reloadSinks keeps the old outputs where one of the new ones cannot be had. Those that
// are no longer asked for may end badly all the same: the new ones are in force.
func (a *agent) reloadSinks(old, cfg *config.Config) error {
	swept := a.sweeping.stop() // it may look at a folder that is to be opened
	left, err := a.openSinks(cfg)
	if err != nil {
		cfg.Sinks, cfg.Spool = old.Sinks, old.Spool
	}
	err = errors.Join(swept, err, closeOutputs(left))
	a.beginSweep(cfg)
	return err
}

// openSinks makes cfg's outputs the ones that windows go to. Those to the same place
// stay, with what they have still to deliver; what has changed of them changes
// under way. Those that it leaves are the caller's to close.
func (a *agent) openSinks(cfg *config.Config) (left []sink.Output, err error) {
	next := map[string]opened{}
	var made, all []sink.Output
	var changes []func()
	var changed []sink.Writer
	var errs []error
	for _, s := range cfg.Sinks {
		now := opened{sink: s, queue: a.queueOptions(cfg, &s)}
		was, open := a.outputs[placeIn(cfg, &s)]
		if now.output = was.output; !open || was.sink != now.sink || was.queue != now.queue {
			w, err := a.writerOf(&s)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			q, isQueue := was.output.(*sink.Queue)
			if !isQueue {
				q = sink.NewQueue(w, now.queue)
				made = append(made, q)
			} else {
				changes, changed = append(changes, func() { q.Replace(w, now.queue) }), append(changed, w)
			}
			now.output = q
		}
		next[placeIn(cfg, &s)] = now
		all = append(all, sink.WithSchema(now.output, sink.Schema(s.Schema)))
	}
	if len(errs) > 0 {
		for _, w := range changed {
			errs = append(errs, w.Close())
		}
		return nil, errors.Join(append(errs, closeOutputs(made))...)
	}
	for _, change := range changes {
		change()
	}
	a.encodesFor = hostOf(cfg)
	f := sink.NewFanout(sink.NewEncoder(a.encodesFor, sink.EncoderOptions{Flows: true, Log: a.log}), all...)
	a.handover.Lock()
	a.fanout = f
	a.handover.Unlock()
	for place, was := range a.outputs {
		if next[place].output == nil {
			left = append(left, was.output)
		}
	}
	a.outputs = next
	return left, nil
}

// placeIn tells outputs apart: where lines go, and in which spool they wait.
func placeIn(cfg *config.Config, s *config.Sink) string { return cfg.Spool.Path + " " + s.Place() }

// beginSweep looks after what sinks that are no longer configured left in the spool. Folders that are
// in use are locked.
func (a *agent) beginSweep(cfg *config.Config) {
	a.sweeping = nil
	if cfg.Spool.Path == "" {
		return
	}
	used := map[string]bool{}
	for _, s := range cfg.Sinks {
		used[sink.FolderName(s.Place())] = true
	}
	a.sweeping = start(func(ctx context.Context) error {
		return sink.SweepLog(ctx, cfg.Spool.Path, used, cfg.Spool.MaxAge, a.log)
	})
}

// queueOptions is how batches for s are made and kept.
func (a *agent) queueOptions(cfg *config.Config, s *config.Sink) sink.QueueOptions {
	o := sink.QueueOptions{Log: a.log, Ordered: s.Kind != config.KindInflux}
	if s.Kind != config.KindInflux && s.Kind != config.KindSocket {
		return o
	}
	p := &s.Push
	o.MaxBatches, o.BatchLines, o.BatchBytes, o.BatchAge = p.Queue, p.BatchLines, p.BatchBytes, p.BatchAge
	o.Compress = s.Kind == config.KindInflux && s.Influx.Gzip
	if p.Spread {
		o.Delay = spread(hostOf(cfg).Name, min(cfg.Probing.Timing.Window/2, maxSpread))
	}
	if cfg.Spool.Path != "" {
		o.Spool = sink.SpoolOptions{
			Path: filepath.Join(cfg.Spool.Path, sink.FolderName(s.Place())),
			Sync: cfg.Spool.Sync, MaxBytes: cfg.Spool.MaxBytes, MaxAge: cfg.Spool.MaxAge,
		}
	}
	return o
}

// maxSpread is enough for any fleet: longer windows need not be known later.
const maxSpread = time.Minute

// spread is a time from 0 to most that is always the same for a host, and evenly spread
// over hosts.
func spread(host string, most time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(host))
	share := float64(binary.BigEndian.Uint64(sum[:])) / (1 << 64)
	return time.Duration(share * float64(most))
}

func (a *agent) writerOf(s *config.Sink) (sink.Writer, error) {
	switch s.Kind {
	case config.KindStdout:
		return sink.NewStream("stdout", a.stdout), nil
	case config.KindFile:
		return sink.NewFile(s.File.Path)
	case config.KindInflux:
		i := &s.Influx
		return sink.NewInflux(sink.InfluxConfig{
			URL: i.URL, Database: i.Database, RetentionPolicy: i.RetentionPolicy, User: i.Username, Password: string(i.Password),
			Org: i.Org, Bucket: i.Bucket, Token: string(i.Token),
			TLS:     sink.TLSConfig{CA: i.TLS.CA, Cert: i.TLS.Cert, Key: i.TLS.Key, ServerName: i.TLS.ServerName},
			Timeout: i.Timeout, NoGzip: !i.Gzip,
		})
	case config.KindSocket:
		o := &s.Socket
		return sink.NewSocket(sink.SocketConfig{Address: o.Address, Timeout: o.Timeout, Datagram: o.Datagram})
	}
	return nil, fmt.Errorf("sink %q: unknown kind", s.Kind)
}

func (a *agent) endSinks() error {
	var all []sink.Output
	for _, o := range a.outputs {
		all = append(all, o.output)
	}
	if a.summary != nil {
		all = append(all, a.summary)
	}
	a.outputs, a.summary = nil, nil // what is closed takes no more
	return errors.Join(a.sweeping.stop(), closeOutputs(all))
}

// closeOutputs gives all of them the same time to deliver what they still have.
func closeOutputs(list []sink.Output) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	errs := make([]error, len(list))
	var wait sync.WaitGroup
	for i, out := range list {
		wait.Go(func() { errs[i] = out.Close(ctx) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// fields is what llama_agent says of the agent.
func (a *agent) fields(f *sink.Fanout) []sink.AgentField {
	out := append(f.Encoder().Stats().Fields(), a.own.fields()...)
	out = append(out, listFields(a.listsNow())...)
	for _, o := range f.Outputs() {
		out = append(out, o.Stats().Fields("sink_"+fieldName(o.Name())+"_")...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collector != nil {
		out = append(out, named("collector_", a.collector.Stats())...)
		var failed int64
		for _, t := range a.collector.Targets() {
			if t.Err != nil {
				failed++
			}
		}
		out = append(out, sink.AgentInt("targets_not_probed", failed))
	}
	if a.reflector != nil {
		s := a.reflector.Stats()
		out = append(out, named("reflector_", s.Map())...)
	}
	out = append(out, named("kernel_", a.kernel.counters())...)
	return append(out, a.kernel.steps()...)
}

func named(prefix string, counters map[string]uint64) (out []sink.AgentField) {
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		out = append(out, sink.AgentInt(prefix+name, int64(counters[name])))
	}
	return out
}

// fieldName makes a name that line protocol and its users like: a to z, 0 to 9, _.
func fieldName(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}

// health returns why the agent is not well.
func (a *agent) health() (reasons []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collector == nil {
		if a.probing {
			return []string{"not probing"}
		}
		return nil
	}
	t := a.timing
	// A window of no probes is handed over too, so that silence means trouble.
	if silent, most := time.Since(a.lastEnd), 2*t.Window+t.Late+5*time.Second; silent > most {
		reasons = append(reasons, fmt.Sprintf("no window for %s", silent.Round(time.Second)))
	}
	return reasons
}
