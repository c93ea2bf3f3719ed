package config

import (
	"errors"
	"fmt"
	"net/url"
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

// Sink is one place that lines are written to.
type Sink struct {
	Kind   Kind
	File   FileSink   // of KindFile
	Influx InfluxSink // of KindInflux
	Socket SocketSink // of KindSocket
}

// FileSink appends to a file.
type FileSink struct {
	Path string
}

// InfluxSink pushes by HTTP: to version 1 if Database is set, to version 2 if
// Bucket is.
type InfluxSink struct {
	URL      string
	Database string
	Username string
	Password Secret
	Org      string
	Bucket   string
	Token    Secret
	Queue    int // batches that wait; beyond it the oldest are dropped
	Timeout  time.Duration
	Gzip     bool
}

// sinkFields is the kinds, each with its settings.
func (d *decoder) sinkFields(s *Sink) []field {
	s.Influx = InfluxSink{Queue: 1000, Timeout: 10 * time.Second, Gzip: true}
	s.Socket = SocketSink{Queue: 1000, Timeout: 10 * time.Second, Datagram: 8192}
	return []field{
		section(string(KindStdout)),
		section(string(KindFile), scalar("path", &s.File.Path, d.path)),
		section(string(KindInflux), d.influxFields(&s.Influx)...),
		section(string(KindSocket), d.socketFields(&s.Socket)...),
	}
}

func (d *decoder) influxFields(s *InfluxSink) []field {
	return []field{
		scalar("url", &s.URL, parseInfluxURL),
		scalar("database", &s.Database, nameText),
		scalar("username", &s.Username, nameText),
		inline("password", &s.Password, parseSecret),
		scalar("password_file", &s.Password, fromFile(d, readSecret)),
		scalar("org", &s.Org, nameText),
		scalar("bucket", &s.Bucket, nameText),
		inline("token", &s.Token, parseSecret),
		scalar("token_file", &s.Token, fromFile(d, readSecret)),
		scalar("queue", &s.Queue, integer(1, 1_000_000)),
		scalar("timeout", &s.Timeout, duration(10*time.Millisecond, 5*time.Minute)),
		scalar("gzip", &s.Gzip, boolean),
	}
}

// nameText is a name in a database.
func nameText(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty")
	}
	return s, checkText(s)
}

func parseInfluxURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "", errors.New("is not a URL as http://127.0.0.1:8086") // unquoted: it may hold a password
	case u.User != nil:
		return "", errors.New("holds a user: write username and password")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", fmt.Errorf("%s has a query or a fragment: write the base, as http://127.0.0.1:8086", show(s))
	}
	if u.Port() != "" {
		if _, err := parsePort(u.Port()); err != nil {
			return "", fmt.Errorf("port %w", err)
		}
	}
	return s, nil
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
	place := s.place()
	if line, again := first[place]; again {
		p.problem("writes to the same as the sink in line %d: remove one", line)
	} else if place != "" {
		first[place] = p.at.Line
	}
	d.cfg.Sinks = append(d.cfg.Sinks, s)
}

// place is where the lines go; "" if that is not known because of a mistake.
func (s *Sink) place() string {
	i := &s.Influx
	switch {
	case s.Kind == KindStdout:
		return "stdout"
	case s.Kind == KindFile && s.File.Path != "":
		return "file " + s.File.Path
	case s.Kind == KindInflux && i.URL != "" && i.Database+i.Bucket != "":
		return fmt.Sprintf("influx %q %q %q %q", i.URL, i.Database, i.Org, i.Bucket)
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

func checkInflux(v value) {
	v.oneOf("token", "token_file")
	v.oneOf("password", "password_file")
	v1, v2 := v.sets("database"), v.sets("org") || v.sets("bucket") || v.sets("token") || v.sets("token_file")
	if !v.sets("url") {
		v.problem("has no url")
	}
	switch {
	case v1 && v2:
		v.problem("mixes database (InfluxDB 1) with org, bucket and token (InfluxDB 2): one of the two")
	case !v1 && !v2:
		v.problem("has no database (InfluxDB 1), and no org, bucket and token (InfluxDB 2)")
	case v2:
		for _, key := range []string{"org", "bucket"} {
			if !v.sets(key) {
				v.problem("has no %s", key)
			}
		}
		if !v.sets("token") && !v.sets("token_file") {
			v.problem("has no token: set token or token_file")
		}
	}
	password := v.sets("password") || v.sets("password_file")
	switch user := v.sets("username"); {
	case (user || password) && v2 && !v1:
		v.problem("username and password are for database (InfluxDB 1): use token")
	case user != password:
		v.problem("username and password go together")
	}
}
