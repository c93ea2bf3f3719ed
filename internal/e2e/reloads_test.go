//go:build linux

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// changing is what differs between the configurations of TestTwentyReloads.
type changing struct {
	rack              string
	ef, two, mistaken bool
	second            string // path of another file sink; "": there is none
}

func (c changing) write(t testing.TB, r *running) {
	t.Helper()
	config := fmt.Sprintf(`
host: {name: prober, tags: {rack: %[1]s}}
datapath: {pin: %[2]s}
probing: {classes: [%[3]s], ports: 2, interval: 20ms, %[4]s}
sinks:
  - file: {path: %[5]s}
`, c.rack, r.pin, map[bool]string{false: "be", true: "be, ef"}[c.ef], runTimes, r.output)
	if c.second != "" {
		config += fmt.Sprintf("  - file: {path: %s}\n", c.second)
	}
	config += fmt.Sprintf("targets:\n  one: {address: 10.77.2.2, rack: %s}\n", c.rack)
	if c.two {
		config += "  two: {address: 10.77.3.2}\n"
	}
	if c.mistaken {
		config += "  three: {address: 10.77.2.2, port: 99999}\n"
	}
	require.NoError(t, os.WriteFile(r.config, []byte(config), 0o600))
}

// TestTwentyReloads changes tags, a class, a target and a sink in turn, and every fifth file has a mistake. What stays goes
// on: the flows to a target that was there all the time, and the answers to another host's probes.
func TestTwentyReloads(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1, h3 := l.Host(1), l.Host(3)
	reflectOverSockets(t, l.Host(2))
	reflectOverSockets(t, h3)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	dir := t.TempDir()
	r := &running{host: h1, config: filepath.Join(dir, "agent.yaml"), output: filepath.Join(dir, "lines"), pin: newPin()}
	second := filepath.Join(dir, "second")
	now := changing{rack: "r0"}
	now.write(t, r)
	r.start(t)
	r.logs(t, "mode=tc")
	before := inKernel(t, h1, r.pin)["reply replied"]
	foreign := startForeign(t, h3, h1)

	loaded, kept, sizeThen := 0, 0, int64(0)
	reload := func(c changing) {
		c.write(t, r)
		r.signal(t, syscall.SIGHUP)
		if c.mistaken {
			kept++
		} else {
			loaded++
		}
		eventually(t, func() bool {
			log := r.log.String()
			return strings.Count(log, "configuration loaded") >= loaded && strings.Count(log, "configuration kept as it was") >= kept
		}, "reload %d", loaded+kept)
	}
	for round := range 4 {
		on := round%2 == 0
		now.rack = fmt.Sprint("r", round+1)
		reload(now)
		now.ef = on
		reload(now)
		now.two = on
		reload(now)
		if now.second = ""; on {
			now.second = second
		}
		if on {
			require.Equal(t, sizeThen, sizeOf(t, second), "a sink that went takes nothing")
		}
		reload(now)
		if on { // all of it shows in the new sink's lines
			for _, want := range []string{"class=be", "class=ef"} {
				for _, dst := range []string{"one", "two"} {
					eventually(t, func() bool { return hasPath(t, second, dst, want, "src_rack="+now.rack) }, "%s %s %s", dst, want, now.rack)
				}
			}
		}
		sizeThen = sizeOf(t, second)
		mistaken := now
		mistaken.rack, mistaken.mistaken = "wrong", true
		reload(mistaken)
	}
	require.Equal(t, 20, loaded+kept)
	require.NoError(t, foreign.cmd.Process.Signal(syscall.SIGINT))
	eventually(t, func() bool { return hasPath(t, r.output, "one", "class=be", "dst_rack=r4") }, "the last tags")
	windows := strings.Count(string(read(t, r.output)), "\nllama_agent,")
	eventually(t, func() bool { return strings.Count(string(read(t, r.output)), "\nllama_agent,") >= windows+2 }, "two windows more")

	results, _ := foreign.wait(t)
	require.Len(t, results, 1, "%s", &foreign.stderr)
	answered := inKernel(t, h1, r.pin)["reply replied"] - before
	r.stop(t)
	records, err := tap.Stop()
	require.NoError(t, err)

	// The other host's probes: none lost, each answered once, by the kernel all the time.
	theirs := results[0]
	requireAllBack(t, &theirs.counts)
	require.Zero(t, theirs.Duplicate)
	require.EqualValues(t, theirs.Sent, answered)

	// The target that stayed: every flow one session, without a hole.
	lines := readLines(t, r.output)
	one, _ := pathOfClass(lines, "one", "be")
	requireAllBack(t, &one)
	sent, due := requireWhole(t, records, netip.AddrPortFrom(l.Host(2).IPv4, lab.DefaultReflectorPort), 2)
	require.Equal(t, one.Sent, sent, "every probe that left is in a line")
	require.InEpsilon(t, due, one.Sent+one.NotSent, 0.1, "probes that were due: %d sent, %d not", one.Sent, one.NotSent)

	// What changed shows, and what was wrong does not.
	require.NotContains(t, string(read(t, r.output)), "wrong")
	require.NotContains(t, r.log.String(), "loaded in part")
	require.Contains(t, r.log.String(), "99999")
	require.Equal(t, sizeThen, sizeOf(t, second), "a sink that went takes nothing")
	requireLastFile(t, lines)
	own := last(t, lines)
	require.EqualValues(t, kept, own["config_reloads_refused"])
	require.Zero(t, own["config_last_reload_ok"], "the last file was wrong")
}

// requireLastFile has the last window of paths hold that of the last right file alone, with its tags.
func requireLastFile(t *testing.T, lines []line) {
	t.Helper()
	var end time.Time
	var paths [][]string // of the latest window
	for _, x := range lines {
		if x.measurement != "llama_path" || x.at.Before(end) {
			continue
		}
		if x.at.After(end) {
			end, paths = x.at, nil
		}
		paths = append(paths, []string{x.tags["dst"], x.tags["class"], x.tags["src_rack"], x.tags["dst_rack"]})
	}
	require.Equal(t, [][]string{{"one", "be", "r4", "r4"}}, paths)
}

// startForeign has a host probe another's reflector until it is interrupted.
func startForeign(t testing.TB, from, to *lab.Host) *pinging {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &pinging{cmd: command(ctx, from, "ping", "--output", "json", "--mode", "socket", "--ports", "4", "--interval", "20ms", target(to.IPv4))}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait()
	})
	return p
}

// requireWhole: of each flow of class be to a reflector all numbers left, in order, from 0 on. It returns how many probes that
// are, and how many were due between the first and the last of each.
func requireWhole(t testing.TB, records []lab.Record, to netip.AddrPort, flows int) (sent, due int64) {
	t.Helper()
	type flow struct {
		next        uint32
		first, last int64
	}
	all := map[uint16]*flow{}
	for _, x := range records {
		if x.Direction != lab.FromHost || x.Dst != to || x.DSCP != 0 {
			continue
		}
		f := all[x.Src.Port()]
		if f == nil {
			f = &flow{first: x.Time}
			all[x.Src.Port()] = f
		}
		require.Equal(t, f.next, binary.BigEndian.Uint32(x.Head), "source port %d", x.Src.Port())
		f.next, f.last = f.next+1, x.Time
		sent++
	}
	require.Len(t, all, flows)
	for _, f := range all {
		due += (f.last-f.first+int64(10*time.Millisecond))/int64(20*time.Millisecond) + 1
	}
	return sent, due
}

// hasPath tells whether a file has a line of llama_path to dst with all the texts among its tags.
func hasPath(t testing.TB, file, dst string, texts ...string) bool {
	t.Helper()
lines:
	for x := range strings.Lines(string(read(t, file))) {
		tags, _, _ := strings.Cut(x, " ")
		if !strings.HasPrefix(tags, "llama_path,") || !strings.Contains(tags, ",dst="+dst+",") {
			continue
		}
		for _, text := range texts {
			if !strings.Contains(tags+",", ","+text+",") {
				continue lines
			}
		}
		return true
	}
	return false
}

// pathOfClass sums the lines of llama_path to a target in a class.
func pathOfClass(lines []line, dst, class string) (sum counts, n int) {
	var of []line
	for _, x := range lines {
		if x.tags["class"] == class {
			of = append(of, x)
		}
	}
	return pathTo(of, dst)
}

// read is a file's content; none if it is not there yet.
func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return b
}

func sizeOf(t testing.TB, file string) int64 { return int64(len(read(t, file))) }
