package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/collector"
)

func printHead(w io.Writer, f *pingFlags, o *collector.Options) {
	size := "68 octets"
	switch {
	case f.size > 0:
		size = fmt.Sprintf("%d octets", f.size)
	case f.noTLV:
		size = "44 octets"
	}
	fmt.Fprintf(w, "llama-agent ping: %d target(s), %d class(es), %d port(s), %s every %s\n",
		len(o.Plan.Targets), len(o.Plan.Classes), f.ports, size, f.interval)
}

// A liveLine shows on a terminal that something goes on. A nil one does nothing.
type liveLine struct {
	w       io.Writer
	replies atomic.Uint64
	last    atomic.Int64 // ns
	begun   time.Time
	quit    chan struct{}
	ended   sync.WaitGroup
}

// newLiveLine returns nil unless w is a terminal and a line is wanted.
func newLiveLine(w io.Writer, wanted bool) *liveLine {
	f, ok := w.(*os.File)
	if !wanted || !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return &liveLine{w: w, quit: make(chan struct{})}
}

func (l *liveLine) observe(a collector.Answer) {
	l.replies.Add(1)
	if a.RTT >= 0 {
		l.last.Store(a.RTT)
	}
}

func (l *liveLine) start() {
	if l == nil {
		return
	}
	l.begun = time.Now()
	l.ended.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-l.quit:
				fmt.Fprint(l.w, "\r\x1b[K")
				return
			case <-tick.C:
				fmt.Fprintf(l.w, "\r\x1b[K%.0f s  %d replies  last RTT %s µs", time.Since(l.begun).Seconds(),
					l.replies.Load(), micros(float64(l.last.Load())))
			}
		}
	})
}

func (l *liveLine) stop() {
	if l != nil {
		close(l.quit)
		l.ended.Wait()
	}
}

func printSummary(w io.Writer, win *probe.Window) {
	for i := range win.Paths {
		printPath(w, &win.Paths[i])
	}
}

func printPath(w io.Writer, p *probe.Path) {
	fmt.Fprintf(w, "\n--- %s (%s) class %s ---\n", p.Dst, p.Addr, p.Class.Name)
	fmt.Fprintf(w, "%d sent, %d received, %d lost (%s)", p.Sent, p.Received, p.Lost, lossText(&p.Counts))
	for _, x := range []struct {
		n    uint64
		name string
	}{
		{p.Late, "late"}, {p.Refused, "refused by the reflector"}, {p.Unreachable, "unreachable (ICMP)"},
		{p.LocalDrop, "dropped by this host"}, {p.Duplicate, "duplicate"}, {p.Reordered, "reordered"}, {p.Corrupted, "corrupted"},
	} {
		if x.n > 0 {
			fmt.Fprintf(w, ", %d %s", x.n, x.name)
		}
	}
	fmt.Fprintln(w)
	if p.Lost > 0 {
		fmt.Fprintf(w, "lost forward %d, reverse %d, direction unknown %d\n", p.LostForward, p.LostReverse, p.LostUnsplit)
	}
	for _, r := range p.NotSentBy {
		fmt.Fprintf(w, "not sent: %d (%s)\n", r.Count, r.Name)
	}
	if p.HostDrops > 0 {
		fmt.Fprintf(w, "this host's interfaces and queues dropped %d packets meanwhile: the loss may be ours\n", p.HostDrops)
	}
	printTimes(w, "rtt", &p.RTT, fmt.Sprintf("clock %s", p.Clock))
	printTimes(w, "responder", &p.Responder, "taken out of rtt")
	printTimes(w, "send late", &p.SendLate, "this host's own lateness")
	printMarks(w, p)
	for i := range p.FlowDetail {
		f := &p.FlowDetail[i]
		if f.Lost > 0 && len(p.FlowDetail) > 1 {
			fmt.Fprintf(w, "source port %d: %d of %d lost\n", f.SrcPort, f.Lost, f.Sent)
		}
	}
}

func printTimes(w io.Writer, name string, h *probe.Hist, note string) {
	s, ok := h.Summary()
	if !ok {
		return
	}
	fmt.Fprintf(w, "%-9s min %s  mean %s  p50 %s  p90 %s  p99 %s  max %s µs  (%s)\n", name,
		micros(s.Min), micros(s.Mean), micros(s.P50), micros(s.P90), micros(s.P99), micros(s.Max), note)
}

func printMarks(w io.Writer, p *probe.Path) {
	if !p.HopsForward.OK && !p.HopsReverse.OK && !p.DSCPForward.OK && !p.DSCPReverse.OK {
		return
	}
	fmt.Fprintf(w, "hops      there %s, back %s; dscp sent %d, arrived there %s, back %s\n",
		optText(p.HopsForward), optText(p.HopsReverse), p.Class.DSCP, optText(p.DSCPForward), optText(p.DSCPReverse))
}

func optText(o probe.Opt) string {
	if !o.OK {
		return "?"
	}
	return fmt.Sprintf("%.0f", o.Value)
}
