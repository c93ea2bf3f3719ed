package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// printWindow prints one window as a table for people. RTTs in microseconds.
func printWindow(w io.Writer, win *probe.Window) {
	fmt.Fprintf(w, "\n%s\n", win.End.Format("2006-01-02 15:04:05"))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "target\tclass\tsent\treceived\tlost\tloss\tp50 µs\tp99 µs\tmax µs\tclock\t")
	for i := range win.Paths {
		p := &win.Paths[i]
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t", p.Dst, p.Class.Name, p.Sent, p.Received, p.Lost, lossText(&p.Counts))
		if s, ok := p.RTT.Summary(); ok {
			fmt.Fprintf(t, "%s\t%s\t%s\t", micros(s.P50), micros(s.P99), micros(s.Max))
		} else {
			fmt.Fprint(t, "-\t-\t-\t")
		}
		fmt.Fprintf(t, "%s\t\n", p.Clock)
	}
	_ = t.Flush() // the terminal is gone: nothing to do about it
}

// lossText is the loss ratio in percent, or - where it has no value.
func lossText(c *probe.Counts) string {
	r, ok := c.LossRatio()
	if !ok {
		return "-"
	}
	return strconv.FormatFloat(100*r, 'g', 3, 64) + "%"
}

func micros(ns float64) string { return strconv.FormatFloat(ns/1000, 'f', 1, 64) }
