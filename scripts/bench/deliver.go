package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

const (
	deliverPaths   = 2_000 // lines a window
	deliverWindows = 20
	manySeries     = 100_000
	victoriaName   = "victoria-metrics"
)

// benchDeliver encodes lines, and pushes them to a real VictoriaMetrics, from memory and through the spool. Telegraf
// pushes the same lines to the same server.
func benchDeliver(b *bench) error {
	dir, err := os.MkdirTemp("", "llama-bench-deliver-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &deliverBench{bench: b, dir: dir}
	return errors.Join(b.rounds(d.encode, d.floor, d.push(""), d.push("spool"), d.telegraf), d.memory())
}

type deliverBench struct {
	*bench
	dir   string
	tried int // folders and times so far: none is used twice
}

// here is this process's own network.
type here struct{}

func (here) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}

// window is a window of n paths as they are where all is well, over the lines' whole width.
func (d *deliverBench) window(n int) *probe.Window {
	d.tried++
	w := &probe.Window{End: time.Now().Add(-time.Hour).Truncate(time.Second).Add(time.Duration(d.tried) * time.Second)}
	w.Start = w.End.Add(-10 * time.Second)
	for i := range n {
		p := probe.Path{
			Dst: fmt.Sprintf("host%05d", i), DstTags: map[string]string{"rack": fmt.Sprint("r", i/40), "cluster": "aa", "datacenter": "iad"},
			Family: 4, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 862),
			Class: probe.Class{Name: "be"}, Clock: probe.ClockKernel, Counts: probe.Counts{Sent: 320, Received: 320},
			Jitter: probe.Some(1234), HopsForward: probe.Some(3), HopsReverse: probe.Some(3), DSCPForward: probe.Some(0), DSCPReverse: probe.Some(0),
			Flows: 32,
		}
		for k := range int64(32) {
			p.RTT.Record(20_000 + 137*k*int64(i%19+1))
			p.Responder.Record(300 + 7*k)
			p.SendLate.Record(5_000 + 111*k)
		}
		w.Paths = append(w.Paths, p)
	}
	return w
}

func newBenchEncoder() *sink.Encoder {
	host := probe.Host{Name: "prober", Tags: map[string]string{"rack": "r1", "cluster": "aa", "datacenter": "iad"}}
	return sink.NewEncoder(host, sink.EncoderOptions{Log: slog.New(slog.DiscardHandler)})
}

// timed runs fn, which handles a number of lines, until this process has had a second of a core.
func timed(fn func() (int, error)) (perSecond, allocs float64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	lines, begun := 0, ownCPU()
	for ownCPU()-begun < time.Second {
		n, err := fn()
		if err != nil {
			return 0, 0, err
		}
		lines += n
	}
	elapsed := ownCPU() - begun
	runtime.ReadMemStats(&after)
	return float64(lines) / elapsed.Seconds(), float64(after.Mallocs-before.Mallocs) / float64(lines), nil
}

func (d *deliverBench) encode() error {
	enc, w := newBenchEncoder(), d.window(deliverPaths)
	buf, lines, err := enc.Window(nil, w)
	if err != nil {
		return err
	}
	d.table.metric("deliver: octets a line", "").add(ours, float64(len(buf))/float64(lines))
	return d.timed(ours, func() (n int, err error) {
		buf, n, err = enc.Window(buf[:0], w)
		return n, err
	})
}

func (d *deliverBench) timed(who string, fn func() (int, error)) error {
	perSecond, allocs, err := timed(fn)
	if err != nil {
		return err
	}
	d.table.metric("deliver: lines encoded a CPU second (more is better)", "").add(who, perSecond)
	d.table.metric("deliver: allocations a line encoded", "0").add(who, float64(int(allocs*100))/100)
	return nil
}

// started is a server of this section, at a port of its own.
func (d *deliverBench) started(core int, ready string, name string, args ...string) (*process, error) {
	p, err := d.start(here{}, core, name, args...)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(30 * time.Second); ; d.pause(20 * time.Millisecond) {
		if err := errors.Join(d.ctx.Err(), p.alive()); err != nil {
			p.stop()
			return nil, err
		}
		network, addr, _ := strings.Cut(ready, "://")
		if c, err := net.Dial(network, addr); err == nil {
			return p, c.Close()
		}
		if time.Now().After(end) {
			p.stop()
			return nil, fmt.Errorf("%s does not listen", name)
		}
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// victoria starts an empty VictoriaMetrics on the other core.
func (d *deliverBench) victoria() (p *process, addr string, err error) {
	if addr, err = freePort(); err != nil {
		return nil, "", err
	}
	d.tried++
	p, err = d.started(otherCore, "tcp://"+addr, victoriaName, "-httpListenAddr="+addr, "-loggerLevel=ERROR",
		fmt.Sprintf("-storageDataPath=%s/%d", d.dir, d.tried), "-retentionPeriod=1y")
	return p, addr, err
}

// rows is how many values VictoriaMetrics has taken.
func rows(addr string) (float64, error) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var sum float64
	text, err := readAll(resp.Body)
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, `vm_rows_inserted_total{type="influx"} `); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, err
}

// push encodes windows and has them delivered; with a spool each batch is synced to the disk first.
func (d *deliverBench) push(spool string) func() error {
	return func() error {
		vm, addr, err := d.victoria()
		if err != nil {
			return err
		}
		defer vm.stop()
		windows := []*probe.Window{d.window(deliverPaths)} // the first is for the database to know its series
		for range deliverWindows {
			windows = append(windows, d.window(deliverPaths))
		}
		q, err := d.queue(addr, spool)
		if err != nil {
			return err
		}
		f := sink.NewFanout(newBenchEncoder(), q)
		if err := d.delivered(f, q, windows[:1]); err != nil {
			return err
		}
		cpu, begun := ownCPU(), time.Now()
		if err := d.delivered(f, q, windows[1:]); err != nil {
			return err
		}
		elapsed, cpu := time.Since(begun), ownCPU()-cpu
		who := ours + ", from memory"
		if spool != "" {
			who = ours + ", through the spool, synced"
		}
		d.pushed(who, elapsed, cpu)
		return f.Close(d.ctx)
	}
}

func (d *deliverBench) queue(addr, spool string) (*sink.Queue, error) {
	w, err := sink.NewInflux(sink.InfluxConfig{URL: "http://" + addr, Database: "llama", Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	o := sink.QueueOptions{Compress: true, Log: slog.New(slog.DiscardHandler)}
	if spool != "" {
		d.tried++
		o.Spool = sink.SpoolOptions{Path: filepath.Join(d.dir, fmt.Sprint(spool, d.tried)), Sync: true}
	}
	return sink.NewQueue(w, o), nil
}

// delivered hands windows on and waits until the database has acknowledged all of their lines.
func (d *deliverBench) delivered(f *sink.Fanout, q *sink.Queue, windows []*probe.Window) error {
	due := q.Stats().Delivered.Lines
	for _, w := range windows {
		due += uint64(len(w.Paths))
		if err := f.Window(w); err != nil {
			return err
		}
	}
	for q.Stats().Delivered.Lines < due {
		if d.pause(time.Millisecond); d.ctx.Err() != nil {
			return d.ctx.Err()
		}
	}
	return nil
}

func (d *deliverBench) pushed(who string, elapsed, cpu time.Duration) {
	t, lines := &d.table, deliverPaths*deliverWindows
	t.metric("deliver: lines a second into VictoriaMetrics, until it has them (more is better)", "").add(who, float64(lines)/elapsed.Seconds())
	t.metric("deliver: CPU µs a line, the database's not counted (less is better)", "").add(who, float64(cpu.Microseconds())/float64(lines))
}

// ownCPU is the time that this process has had.
func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is what this process takes for windows of many series while the database is down and all goes to the spool.
func (d *deliverBench) memory() error {
	addr, err := freePort()
	if err != nil {
		return err
	}
	w := d.window(manySeries)
	for _, spool := range []string{"", "spool"} {
		q, err := d.queue(addr, spool)
		if err != nil {
			return err
		}
		f := sink.NewFanout(newBenchEncoder(), q)
		debug.FreeOSMemory()
		before, err := residentMB("VmRSS:")
		if err != nil {
			return err
		}
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak begins anew
			return err
		}
		for range 3 {
			w.End = w.End.Add(10 * time.Second)
			if err := f.Window(w); err != nil {
				return err
			}
		}
		for q.Stats().Accepted.Lines+q.Stats().DroppedAll().Lines < 3*manySeries {
			if d.pause(time.Millisecond); d.ctx.Err() != nil {
				return d.ctx.Err()
			}
		}
		most, err := residentMB("VmHWM:")
		if err != nil {
			return err
		}
		who := ours + ", batches in memory"
		if spool != "" {
			who = ours + ", batches in the spool"
		}
		d.table.metric("deliver: memory beyond that of the windows, MB: three windows of 100,000 series, database down", "").add(who, most-before)
		closed, cancel := context.WithCancel(d.ctx)
		cancel() // nothing can be delivered
		_ = f.Close(closed)
	}
	return nil
}

func residentMB(name string) (float64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	kB, ok := fieldOf(string(text), name)
	if !ok {
		return 0, fmt.Errorf("read memory: no %s", name)
	}
	return kB * 1024 / 1e6, nil
}
