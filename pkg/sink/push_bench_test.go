package sink

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// BenchmarkPush is a window of 10,000 paths, encoded, accepted to disk and pushed to a
// server on loopback that takes what comes. Its own CPU is in the figure.
func BenchmarkPush(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	const paths = 10_000
	w := window()
	for i := range paths {
		p := remarkedPath()
		p.Dst = fmt.Sprintf("reflector%05d", i)
		p.RTT = hist(int64(10_000+i), int64(20_000+3*i), int64(1_000_000-7*i))
		w.Paths = append(w.Paths, p)
	}
	for name, spool := range map[string]SpoolOptions{"memory": {}, "spool": {Path: b.TempDir()}, "spool-fsync": {Path: b.TempDir(), Sync: true}} {
		b.Run(name, func(b *testing.B) {
			out, err := NewInflux(InfluxConfig{URL: server.URL, Database: "llama"})
			if err != nil {
				b.Fatal(err)
			}
			q := NewQueue(out, QueueOptions{Spool: spool, Compress: true, Log: quiet()})
			f := NewFanout(NewEncoder(probe.Host{Name: "a1-h1", Tags: testHost.Tags}, EncoderOptions{Log: quiet()}), q)
			before, pushed := cpu(b), uint64(0)
			for b.Loop() {
				w.End = w.End.Add(10 * time.Second)
				if err := f.Window(w); err != nil {
					b.Fatal(err)
				}
				for pushed += paths; q.Stats().Delivered.Lines < pushed; {
					time.Sleep(100 * time.Microsecond)
				}
			}
			lines := float64(b.N * paths)
			b.ReportMetric(lines/b.Elapsed().Seconds(), "lines/s")
			b.ReportMetric(float64(cpu(b)-before)/lines, "cpu-ns/line")
			if err := f.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// cpu is what this process has used so far.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
