//go:build linux

package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/servers"
)

// delivering is a `run` that pushes to all servers.
type delivering struct {
	*agent
	host *lab.Host
	dir  string
	// accepted is the lines that lay in the spool when it was killed, by the server that they were for.
	accepted map[*stored][]string
}

// stored is a server and what stands before it.
type stored struct {
	*servers.Server
	*servers.Proxy
	points func() []point
	settle func() bool // all that it has acknowledged is on its disk
	rounds bool        // times to milliseconds, numbers to 12 digits
}

const (
	deliveredWindows = 24
	deaths           = 10
)

// TestDelivery: three agents deliver their windows into InfluxDB, VictoriaMetrics and a file behind Telegraf, while
// each of these is killed, frozen, answers 500, 429 and a partial write, does not answer at all, and takes what it does
// not acknowledge. Two agents live through it: each server has, field for field, what their file sinks have, less the
// one line that was refused, which lies where a person can read it. The third is killed ten times: what lay in its spool
// then is in each server.
func TestDelivery(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 4)
	at := l.Host(4)
	influx := servers.NewInflux16(t, at)
	influx.Query("", "CREATE DATABASE llama")
	// A point that comes twice would count twice in VictoriaMetrics without this.
	victoria := servers.NewVictoria(t, at, "-dedup.minScrapeInterval=1ms")
	telegraf := servers.NewTelegraf(t, at, "[[inputs.influxdb_listener]]\nservice_address = \"%s\"\n", "Started HTTP listener")
	var all []*stored
	add := func(s *servers.Server, points func() []point, settle func() bool) {
		all = append(all, &stored{s, servers.NewProxy(t, at, at.IPv4.String(), s, "llama_path,"), points, settle, false})
	}
	add(influx.Server, func() []point { return inInflux(t, influx, "llama") }, func() bool { return true }) // its log is synced before it answers
	add(victoria.Server, func() []point { return inVictoria(t, victoria, "llama") }, func() bool { victoria.Sync(); return true })
	add(telegraf.Server, func() []point { return parsePoints(t, strings.Join(telegraf.Lines(), "\n")) }, func() bool {
		lines, _ := all[2].Acknowledged()
		return len(telegraf.Lines()) == lines
	})
	all[1].rounds = true
	var agents []*delivering
	for i := range 3 {
		agents = append(agents, startDelivering(t, l, i+1, all))
	}
	mortal := agents[2]

	scenes := [][]act{mortal.deaths(t, all), {{"windows", nil, func() bool {
		return agents[0].windows(t) >= deliveredWindows && agents[1].windows(t) >= deliveredWindows
	}}}}
	for _, s := range all {
		scenes = append(scenes, s.faults())
	}
	play(t, scenes)
	for _, a := range agents {
		a.finish(t)
	}
	for _, s := range all {
		s.check(t, agents[:2], mortal)
	}
}

// act is something that is done, and what has to come of it before the next.
type act struct {
	name  string
	begin func()
	until func() bool
}

// play has the acts of each scene follow each other, all scenes at once.
func play(t *testing.T, scenes [][]act) {
	t.Helper()
	begun := make([]bool, len(scenes))
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var left []string
		for i, scene := range scenes {
			if len(scene) == 0 {
				continue
			}
			a := scene[0]
			if !begun[i] && a.begin != nil {
				a.begin()
			}
			begun[i] = true
			if a.until == nil || a.until() {
				scenes[i], begun[i] = scene[1:], false
			} else {
				left = append(left, a.name)
			}
		}
		if !slices.ContainsFunc(scenes, func(s []act) bool { return len(s) > 0 }) {
			return
		}
		require.True(t, time.Now().Before(end), "still waiting: %q", left)
	}
}

// faults is all that happens to a server and on the way to it.
func (s *stored) faults() (acts []act) {
	name := filepath.Base(s.Server.String()) + ": "
	then := func(what string, begin func(), until func() bool) {
		acts = append(acts, act{name + what, begin, until})
	}
	tried := func() bool { return s.Attempts() > 3 } // by three agents: one of them has tried again
	recovers := func() {
		then("pass", func() { s.Set(servers.Pass) }, func() bool { return s.Taken() > 0 })
	}
	recovers()
	// What a server acknowledges and then forgets nobody can deliver: it is killed when it has forgotten nothing.
	then("500", func() { s.Set(servers.Status500) }, func() bool { _, idle := s.Acknowledged(); return tried() && idle })
	then("settled", nil, s.settle)
	then("kill", func() { s.Kill(); s.Set(servers.Pass) }, func() bool { return s.Attempts() > 0 })
	then("start", s.Start, nil)
	recovers()
	then("429", func() { s.Set(servers.Status429) }, tried)
	recovers()
	then("400", func() { s.Set(servers.Refuse) }, func() bool { return s.Refused() != "" })
	recovers()
	then("hang", func() { s.Set(servers.Hang) }, tried)
	recovers()
	then("mute", func() { s.Set(servers.Mute) }, tried)
	recovers()
	then("freeze", func() { s.Freeze(); s.Set(servers.Pass) }, tried)
	then("thaw", s.Thaw, nil)
	recovers()
	return acts
}

func startDelivering(t *testing.T, l *lab.Lab, number int, all []*stored) *delivering {
	t.Helper()
	d := &delivering{host: l.Host(number), dir: t.TempDir(), accepted: map[*stored][]string{}}
	var more strings.Builder
	fmt.Fprintf(&more, "host: {name: h%d}\ndatapath: {mode: socket}\n", number)
	more.WriteString("probing: {ports: 2, interval: 50ms, timeout: 200ms, late: 400ms, window: 1s}\ntargets:\n")
	for i := range 3 {
		if i+1 != number {
			fmt.Fprintf(&more, "  h%d: {address: %s}\n", i+1, l.Host(i+1).IPv4)
		}
	}
	fmt.Fprintf(&more, "spool: {path: %s/spool}\nsinks:\n  - file: {path: %s/lines}\n", d.dir, d.dir)
	for _, s := range all {
		fmt.Fprintf(&more, "  - influx: {url: %q, database: llama, timeout: 1s}\n", s.Proxy.URL)
	}
	require.NoError(t, os.WriteFile(d.dir+"/agent.yaml", []byte(more.String()), 0o600))
	d.start(t)
	return d
}

func (d *delivering) start(t *testing.T) {
	d.agent = startAgent(t, d.host, "llama-agent runs", "run", "--config", d.dir+"/agent.yaml")
}

// windows counts those to the third agent that the file sink has.
func (d *delivering) windows(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(d.dir + "/lines")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "llama_path,") && strings.Contains(line, ",dst=h3,") {
			n++
		}
	}
	return n
}

// deaths kills the agent and starts it again, at moments that nobody chose.
func (d *delivering) deaths(t *testing.T, all []*stored) (acts []act) {
	for i := range deaths {
		var due time.Time
		acts = append(acts, act{"life", func() { due = time.Now().Add(rand.N(2 * time.Second)) }, func() bool { return time.Now().After(due) }},
			act{fmt.Sprint("death ", i+1), func() { d.die(t, all); d.start(t) }, nil})
	}
	return acts
}

// die looks at what the spool has at the moment of the death: that has been accepted.
func (d *delivering) die(t *testing.T, all []*stored) {
	t.Helper()
	d.signal(t, syscall.SIGSTOP)
	eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
		require.NoError(t, err)
		return strings.Contains(string(stat), ") T ")
	}, "a stop")
	for _, s := range all {
		d.accepted[s] = append(d.accepted[s], d.spooled(t, s)...)
	}
	d.kill(t)
}

// spooled is the lines that wait for a server.
func (d *delivering) spooled(t *testing.T, s *stored) (lines []string) {
	t.Helper()
	for _, name := range d.files(t, s, "*.lp.gz") {
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // a thread was not stopped yet, and has delivered it
		}
		require.NoError(t, err)
		z, err := gzip.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		text, err := io.ReadAll(z)
		require.NoError(t, err, name)
		lines = append(lines, slices.Collect(strings.Lines(string(text)))...)
	}
	return lines
}

// files is those in the spool's folder of a server.
func (d *delivering) files(t *testing.T, s *stored, pattern string) (found []string) {
	t.Helper()
	names, err := filepath.Glob(d.dir + "/spool/*/sink")
	require.NoError(t, err)
	for _, name := range names {
		sink, err := os.ReadFile(name)
		require.NoError(t, err)
		if strings.Contains(string(sink), s.Proxy.URL) {
			found, err = filepath.Glob(filepath.Dir(name) + "/" + pattern)
			require.NoError(t, err)
		}
	}
	return found
}

// finish stops the agent and has it deliver all that it has; on a slow machine it takes more than one stop.
func (d *delivering) finish(t *testing.T) {
	t.Helper()
	d.stop(t)
	for range 10 {
		left, err := filepath.Glob(d.dir + "/spool/*/*.lp.gz")
		require.NoError(t, err)
		if len(left) == 0 {
			return
		}
		d.start(t)
		d.stop(t)
	}
	t.Fatal("the spool does not empty")
}

// check holds what the server has against what it ought to have.
func (s *stored) check(t *testing.T, alive []*delivering, mortal *delivering) {
	t.Helper()
	name := s.Server.String()
	got := map[string]point{} // by series: what came twice is one point
	twice := 0
	for _, p := range s.points() {
		if other, ok := got[p.series()]; ok {
			require.Equal(t, other.String(), p.String(), "%s has two points of one series and time", name)
			twice++
		}
		got[p.series()] = p
	}
	refused := parsePoints(t, s.Refused())
	require.Len(t, refused, 1)
	without := s.series(&refused[0])
	require.NotContains(t, got, without, name)

	var truth []point
	for _, d := range alive {
		text, err := os.ReadFile(d.dir + "/lines")
		require.NoError(t, err)
		truth = append(truth, parsePoints(t, string(text))...)
	}
	lived := map[string]bool{}
	for _, p := range truth {
		if series := s.series(&p); series != without {
			lived[series] = true
			s.requirePoint(t, got, &p)
		}
	}
	for series, p := range got {
		require.True(t, lived[series] || p.tags["src"] == "h3", "%s has what nobody wrote: %s", name, &p)
	}
	accepted := parsePoints(t, strings.Join(mortal.accepted[s], ""))
	for _, p := range accepted {
		if s.series(&p) != without {
			s.requirePoint(t, got, &p)
		}
	}
	s.requireAside(t, append(slices.Clone(alive), mortal))
	t.Logf("%s: %d points, %d came more than once; %d lay in the spool at a death", name, len(got), twice, len(accepted))
}

// series is what two different points never share in this server.
func (s *stored) series(p *point) string {
	if !s.rounds {
		return p.series()
	}
	rounded := *p
	rounded.at = p.at.Truncate(time.Millisecond)
	return rounded.series()
}

// requirePoint finds the point with all its fields; the kinds too, where the server tells.
func (s *stored) requirePoint(t *testing.T, got map[string]point, want *point) {
	t.Helper()
	p, ok := got[s.series(want)]
	if !ok {
		var has []int64
		for _, p := range got {
			if p.measurement == want.measurement && maps.Equal(p.tags, want.tags) {
				has = append(has, p.at.UnixNano())
			}
		}
		slices.Sort(has)
		t.Fatalf("%s has not got %s, of this series %v", s.Server, want, has)
	}
	if !s.rounds {
		require.Equal(t, want.fields, p.fields, "%s: %s", s.Server, want.series())
		require.Equal(t, want.kinds, p.kinds, "%s: %s", s.Server, want.series())
		return
	}
	require.Len(t, p.fields, len(want.fields), "%s: %s", s.Server, want.series())
	for name, text := range want.fields {
		require.Contains(t, p.fields, name)
		require.InEpsilon(t, 1+number(t, text), 1+number(t, p.fields[name]), 1e-11, "%s: %s: %s", s.Server, want.series(), name)
	}
}

// requireAside finds the refused line, and no other, where a person can read it.
func (s *stored) requireAside(t *testing.T, agents []*delivering) {
	t.Helper()
	var lines []string
	for _, d := range agents {
		for _, file := range d.files(t, s, "aside/*") {
			require.Equal(t, "refused.lp", filepath.Base(file))
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			for line := range strings.Lines(string(b)) {
				if !strings.HasPrefix(line, "#") {
					lines = append(lines, strings.TrimSuffix(line, "\n"))
				}
			}
		}
	}
	require.NotEmpty(t, lines)
	slices.Sort(lines)
	require.Equal(t, []string{s.Refused()}, slices.Compact(lines), "put aside")
}
