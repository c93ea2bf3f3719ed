package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// beginSinks makes cfg's outputs the ones that windows go to. Those that are open
// already stay, with what they have still to deliver.
func (a *agent) beginSinks(cfg *config.Config) error {
	next := map[config.Sink]sink.Output{}
	var made, all []sink.Output
	var errs []error
	for _, s := range cfg.Sinks {
		out := a.outputs[s]
		if out == nil {
			w, err := a.writerOf(&s)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			out = sink.NewQueue(w, sink.QueueOptions{MaxBatches: s.Influx.Queue + s.Socket.Queue, Log: a.log})
			made = append(made, out)
		}
		next[s] = out
		all = append(all, out)
	}
	if len(errs) > 0 {
		return errors.Join(append(errs, closeOutputs(made))...)
	}
	f := sink.NewFanout(sink.NewEncoder(hostOf(cfg), sink.EncoderOptions{Flows: true, Log: a.log}), all...)
	a.handover.Lock()
	a.fanout = f
	a.handover.Unlock()
	var ended []sink.Output
	for s, out := range a.outputs {
		if next[s] == nil {
			ended = append(ended, out)
		}
	}
	a.outputs = next
	return closeOutputs(ended)
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
			URL: i.URL, Database: i.Database, User: i.Username, Password: string(i.Password),
			Org: i.Org, Bucket: i.Bucket, Token: string(i.Token), Timeout: i.Timeout, NoGzip: !i.Gzip,
		})
	case config.KindSocket:
		o := &s.Socket
		return sink.NewSocket(sink.SocketConfig{Address: o.Address, Timeout: o.Timeout, Datagram: o.Datagram})
	}
	return nil, fmt.Errorf("sink %q: unknown kind", s.Kind)
}

func (a *agent) endSinks() error {
	all := slices.Collect(maps.Values(a.outputs))
	if a.summary != nil {
		all = append(all, a.summary)
	}
	return closeOutputs(all)
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
	out := f.Encoder().Stats().Fields()
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
	return out
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
