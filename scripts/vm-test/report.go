package main

import (
	"fmt"
	"io"
	"strings"
)

// reasonLines is how much of a failed test's output is shown; all of it is in the log.
const reasonLines = 12

// report writes the one line of a kernel, and below it what has to be said.
func report(w io.Writer, g *guest, v *verdict) {
	n := v.count()
	word := "ok  "
	if !v.ok() {
		word = "FAIL"
	}
	fmt.Fprintf(w, "%s %-34s run %4d  passed %4d  skipped %3d  failed %3d  %4.0f s\n", word, g.kernel.release, n.run, n.passed, n.skipped, n.failed, v.took.Seconds())
	if len(v.lacking) > 0 {
		fmt.Fprintf(w, "     modules that it lacks: %s\n", strings.Join(v.lacking, ", "))
	}
	for _, r := range v.results {
		for _, name := range r.leaves() {
			switch r.tests[name] {
			case skipped:
				fmt.Fprintf(w, "     skipped %s %s: %s\n", r.pkg, name, strings.TrimSpace(strings.Join(r.lastWords(name, 1), "")))
			case failed, running:
				fmt.Fprintf(w, "     failed %s %s\n%s", r.pkg, name, indent(strings.Join(r.lastWords(name, reasonLines), "\n")))
			}
		}
	}
	for _, p := range v.problems {
		fmt.Fprintf(w, "     problem: %s", strings.TrimPrefix(indent(p), "         "))
	}
	if !v.ok() {
		fmt.Fprintf(w, "     all of it: %s, %s\n", g.log("tests.log"), g.log("console.log"))
	}
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("         " + strings.TrimRight(line, "\r\n") + "\n")
	}
	return b.String()
}
