package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ours is the name that ratios are taken of.
const ours = "llama-agent"

// A table is filled while measuring and printed once.
type table struct {
	metrics []*metric
	notes   []string
}

// A metric is one quantity and who has how much of it, a value a round.
type metric struct {
	title string // with its unit, and which way is better
	reach string // of the design, as text
	rows  []*row
}

type row struct {
	who    string
	values []float64
}

// metric finds or adds one.
func (t *table) metric(title, reach string) *metric {
	for _, m := range t.metrics {
		if m.title == title {
			return m
		}
	}
	m := &metric{title: title, reach: reach}
	t.metrics = append(t.metrics, m)
	return m
}

func (m *metric) add(who string, v float64) {
	for _, r := range m.rows {
		if r.who == who {
			r.values = append(r.values, v)
			return
		}
	}
	m.rows = append(m.rows, &row{who, []float64{v}})
}

// note adds a line below the table, once.
func (t *table) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(t.notes, n) {
		t.notes = append(t.notes, n)
	}
}

func (t *table) print(w io.Writer, rounds int, took time.Duration) {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	kernel, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
	fmt.Fprintf(w, "%s, %d cores, Linux %s, %d rounds, %.0f s; median (least–most) of the rounds; ratio: ours ÷ theirs, round by round\n\n",
		time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), kernel, rounds, took.Seconds())
	for _, m := range t.metrics {
		reach := ""
		if m.reach != "" {
			reach = " [reach: " + m.reach + "]"
		}
		fmt.Fprintf(w, "%s%s\n", m.title, reach)
		own, width := m.of(ours), 40
		for _, r := range m.rows {
			width = max(width, utf8.RuneCountInString(r.who)+1)
		}
		for _, r := range m.rows {
			ratio := ""
			if own != nil && r != own {
				ratio = spread(ratios(own.values, r.values))
			}
			line := fmt.Sprintf("  %-*s%-29s%s", width, r.who, spread(r.values), ratio)
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
	}
	for _, n := range t.notes {
		fmt.Fprintln(w, "\n"+n)
	}
}

func (m *metric) of(who string) *row {
	for _, r := range m.rows {
		if r.who == who {
			return r
		}
	}
	return nil
}

// ratios pairs the rounds; a value of 0 has no ratio.
func ratios(a, b []float64) (out []float64) {
	for i := range min(len(a), len(b)) {
		if b[i] > 0 && a[i] > 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// spread is the median and the extremes; "-" if there is no value.
func spread(values []float64) string {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	if v[0] == v[len(v)-1] {
		return number(v[0])
	}
	return fmt.Sprintf("%s (%s–%s)", number(median(v)), number(v[0]), number(v[len(v)-1]))
}

// median of sorted values.
func median(v []float64) float64 {
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// number has three significant digits, and groups of three from 10,000 on.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 10_000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
