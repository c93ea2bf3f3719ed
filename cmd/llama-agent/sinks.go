package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// beginSinks opens cfg's outputs and makes them the ones that windows go to.
func (a *agent) beginSinks(cfg *config.Config) error {
	var outputs []sink.Output
	var errs []error
	for _, s := range cfg.Sinks {
		w, err := a.writerOf(&s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		outputs = append(outputs, sink.NewQueue(w, sink.QueueOptions{MaxBatches: s.Influx.Queue, Log: a.log}))
	}
	host := hostOf(cfg)
	f := sink.NewFanout(sink.NewEncoder(host, sink.EncoderOptions{Flows: true, Log: a.log}), outputs...)
	if len(errs) > 0 {
		return errors.Join(append(errs, closeSinks(f))...)
	}
	a.handover.Lock()
	defer a.handover.Unlock()
	a.fanout = f
	return nil
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
	}
	return nil, fmt.Errorf("sink %q: unknown kind", s.Kind)
}

func (a *agent) endSinks() error {
	if a.fanout == nil {
		return nil
	}
	return closeSinks(a.fanout)
}

func closeSinks(f *sink.Fanout) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return f.Close(ctx)
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
		return nil
	}
	t := a.timing
	// A window of no probes is handed over too, so that silence means trouble.
	if silent, most := time.Since(a.lastEnd), 2*t.Window+t.Late+5*time.Second; silent > most {
		reasons = append(reasons, fmt.Sprintf("no window for %s", silent.Round(time.Second)))
	}
	return reasons
}
