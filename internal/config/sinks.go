package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is the kind of a sink.
type Kind string

// The kinds of sinks.
const (
	KindStdout Kind = "stdout"
	KindFile   Kind = "file"
	KindInflux Kind = "influx"
	KindSocket Kind = "socket"
)

// Schema is how a sink has its windows.
type Schema string

// The schemas.
const (
	SchemaLlama Schema = "llama"     // llama_path and what goes with it
	SchemaRaw   Schema = "raw_stats" // as Dropbox's LLAMA
	SchemaBoth  Schema = "both"
)

// Sink is one place that lines are written to.
type Sink struct {
	Kind   Kind
	Schema Schema
	File   FileSink   // of KindFile
	Influx InfluxSink // of KindInflux
	Socket SocketSink // of KindSocket
	Push   Push       // of KindInflux and KindSocket
}

// FileSink appends to a file.
type FileSink struct {
	Path string
}

// Push says how batches are made and kept.
type Push struct {
	Queue      int // batches that wait in memory, where there is no spool
	BatchLines int
	BatchBytes int
	BatchAge   time.Duration
	Spread     bool // over half a window, by the host's name
}

// sinkFields is the kinds, each with its settings.
func (d *decoder) sinkFields(s *Sink) []field {
	s.Influx = InfluxSink{Timeout: 10 * time.Second, Gzip: true}
	s.Socket = SocketSink{Timeout: 10 * time.Second, Datagram: 8192}
	s.Push = Push{Queue: 1000, BatchLines: 5000, BatchBytes: 1 << 20, BatchAge: 200 * time.Millisecond, Spread: true}
	s.Schema = SchemaLlama
	schema := scalar("schema", &s.Schema, oneOfWords(SchemaLlama, SchemaRaw, SchemaBoth))
	push := append(pushFields(&s.Push), schema)
	return []field{
		section(string(KindStdout), schema),
		section(string(KindFile), scalar("path", &s.File.Path, d.path), schema),
		section(string(KindInflux), append(d.influxFields(&s.Influx), push...)...),
		section(string(KindSocket), append(d.socketFields(&s.Socket), push...)...),
	}
}

// maxBatch is octets: more than a server takes in one request by default.
const maxBatch = 16 << 20

func pushFields(p *Push) []field {
	return []field{
		scalar("queue", &p.Queue, integer(1, 1_000_000)),
		scalar("batch_lines", &p.BatchLines, integer(1, 1_000_000)),
		scalar("batch_size", &p.BatchBytes, size(1<<10, maxBatch)),
		scalar("batch_age", &p.BatchAge, duration(time.Millisecond, time.Minute)),
		scalar("spread", &p.Spread, boolean),
	}
}

// nameText is a name in a database.
func nameText(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty")
	}
	return s, checkText(s)
}

func (d *decoder) sinks(v value) {
	first := map[string]int{} // line by where a sink writes to
	for _, item := range v.list() {
		pairs := item.pairs()
		if len(pairs) != 1 && !d.bad[item.path] {
			item.problem("is one of stdout, file, influx and socket, not %d of them: write each as an element of its own", len(pairs))
		}
		for _, p := range pairs {
			d.sink(p, first)
		}
	}
}

func (d *decoder) sink(p pair, first map[string]int) {
	s := Sink{Kind: Kind(p.key)}
	fs := d.sinkFields(&s)
	f := find(fs, p.key)
	if f == nil {
		d.put(p.at, p.path, unknown("sink", p.key, keysOf(fs)))
		return
	}
	f.read(p.value)
	s.check(p.value)
	if s.Kind != KindInflux {
		s.Influx = InfluxSink{}
	}
	if s.Kind != KindSocket {
		s.Socket = SocketSink{}
	}
	if s.Kind != KindInflux && s.Kind != KindSocket {
		s.Push = Push{}
	}
	place := s.Place()
	if line, again := first[place]; again {
		p.problem("writes to the same as the sink in line %d: remove one", line)
	} else if place != "" {
		first[place] = p.at.Line
	}
	d.cfg.Sinks = append(d.cfg.Sinks, s)
}

// Place is where the lines go, whatever else changes; "" if that is not known because
// of a mistake.
func (s *Sink) Place() string {
	i := &s.Influx
	switch {
	case s.Kind == KindStdout:
		return "stdout"
	case s.Kind == KindFile && s.File.Path != "":
		return "file " + s.File.Path
	case s.Kind == KindInflux && i.URL != "" && i.Database+i.Bucket != "":
		return fmt.Sprintf("influx %q %q %q %q %q", strings.TrimRight(i.URL, "/"), i.Database, i.RetentionPolicy, i.Org, i.Bucket)
	case s.Kind == KindSocket && s.Socket.Address != "":
		return "socket " + s.Socket.Address
	}
	return ""
}

// check says what is missing and what excludes each other.
func (s *Sink) check(v value) {
	switch s.Kind {
	case KindFile:
		if !v.sets("path") {
			v.problem("has no path")
		}
	case KindInflux:
		checkInflux(v)
	case KindSocket:
		if !v.sets("address") {
			v.problem("has no address")
		}
	}
}
