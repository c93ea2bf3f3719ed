//go:build linux

package main

import (
	"fmt"
	"time"
)

// row is one line of text of the table.
type row struct {
	text  string
	lossy bool // to be seen at once
}

func textRow(format string, args ...any) row { return row{text: fmt.Sprintf(format, args...)} }

// mesh lists the paths between hosts, in the order of the table.
func mesh(hosts []string) (out []path) {
	for _, src := range hosts {
		for _, dst := range hosts {
			for _, class := range classes {
				if src != dst {
					out = append(out, path{src, dst, class})
				}
			}
		}
	}
	return out
}

// tableOf shows the newest window of each path, and its losses since the round
// began. It is at most 79 columns wide.
func tableOf(paths []path, s *state) []row {
	out := []row{
		textRow("                ─────────── last second ──────────    ───────── in all ────────"),
		textRow("  pair   class   sent    loss  RTT p50  RTT p99 µs      lost  forward  reverse"),
	}
	for _, p := range paths {
		pair := p.src + "→" + p.dst
		l, told := s.last[p]
		if !told {
			out = append(out, textRow("  %-6s %-5s  …", pair, p.class))
			continue
		}
		t := s.total[p]
		out = append(out, row{
			text: fmt.Sprintf("  %-6s %-5s %6d %7s %8s %8s %13d %8d %8d", pair, p.class,
				l.sent, ratio(l.lost, l.sent-l.localDrop), micros(l.p50), micros(l.p99), t.lost, t.forward, t.reverse),
			lossy: l.lost > 0,
		})
	}
	return out
}

// ratio is in percent; what was not measured is not 0.
func ratio(n, of int64) string {
	switch {
	case of <= 0:
		return "–"
	case n == 0:
		return "0 %"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(of))
}

func micros(us float64) string {
	if us == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", us)
}

// heading says where in its course the demo is.
func heading(at time.Duration, doing string) row {
	return textRow("%4d s  %s", int(at.Seconds()), doing)
}

// faultRows set the agents' findings beside the kernel's counter.
func faultRows(host string, dropped uint64, l *losses) []row {
	return []row{
		textRow("kernel   %d packets towards %s dropped, by the counter of the nftables rule", dropped, host),
		textRow("agents   %d probes lost, told 1 to 2 s after the fact:", l.counts.lost),
		textRow("         forward  %s", l.pairs(l.forward)),
		textRow("         reverse  %s", l.pairs(l.reverse)),
	}
}
