package main

import (
	"strings"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

// A result is that of one package.
type result struct {
	pkg     string
	seconds float64
	order   []string // of tests, as they began
	tests   map[string]outcome
	said    map[string][]string // by test: its lines
	now     string              // the test that speaks
	output  []byte
}

type outcome string

// The outcomes, as `go test` writes them.
const (
	running outcome = ""
	passed  outcome = "PASS"
	skipped outcome = "SKIP"
	failed  outcome = "FAIL"
)

func newResult(pkg string) *result {
	return &result{pkg: pkg, tests: map[string]outcome{}, said: map[string][]string{}}
}

// line takes one line of a test binary run with -test.v=test2json: what the testing package says is marked by ^V, which
// may also follow output without a line's end.
func (r *result) line(line []byte) {
	r.output = append(r.output, line...)
	before, marked, ok := strings.Cut(string(line), "\x16")
	if before = strings.TrimRight(before, " \n"); before != "" {
		r.said[r.now] = append(r.said[r.now], before)
	}
	f := strings.Fields(marked)
	switch {
	case !ok:
	case len(f) == 3 && f[0] == "===":
		r.now = f[2]
		if f[1] == "RUN" {
			r.order = append(r.order, r.now)
			r.tests[r.now] = running
		}
	case len(f) == 4 && f[0] == "---":
		r.now = f[2]
		r.tests[r.now] = outcome(strings.TrimSuffix(f[1], ":"))
	}
}

// lastWords of a test: why it was skipped, or failed.
func (r *result) lastWords(test string, lines int) []string {
	said := r.said[test]
	return said[max(0, len(said)-lines):]
}

// current is the test that began last and has not ended.
func (r *result) current() string {
	for i := len(r.order) - 1; i >= 0; i-- {
		if r.tests[r.order[i]] == running {
			return r.order[i]
		}
	}
	return "no test"
}

func (r *result) end(v *verdict, e *wire.Event) {
	r.seconds = e.Seconds
	open := r.current()
	switch n := r.count(); {
	case e.Status == 0 && open == "no test" && n.failed == 0:
	case open != "no test":
		v.problem("%s ended with status %d during %s; its last words:\n%s", r.pkg, e.Status, open, tail(r.output, 40))
	case n.failed == 0:
		v.problem("%s ended with status %d; its last words:\n%s", r.pkg, e.Status, tail(r.output, 40))
	case e.Status == 0:
		v.problem("%s ended with status 0 although tests failed", r.pkg)
	}
}

// counts of tests: one with subtests is not counted beside them.
type counts struct{ run, passed, skipped, failed int }

func (r *result) count() (n counts) {
	for _, name := range r.leaves() {
		n.run++
		switch r.tests[name] {
		case passed:
			n.passed++
		case skipped:
			n.skipped++
		default: // one without an end too
			n.failed++
		}
	}
	return n
}

// leaves are the tests without subtests, and those that failed by themselves: all their subtests passed.
func (r *result) leaves() (names []string) {
	parents, blamed := map[string]bool{}, map[string]bool{}
	for _, name := range r.order {
		for i, c := range name {
			if c == '/' {
				parents[name[:i]] = true
				if r.tests[name] == failed {
					blamed[name[:i]] = true
				}
			}
		}
	}
	for _, name := range r.order {
		if !parents[name] || r.tests[name] == failed && !blamed[name] {
			names = append(names, name)
		}
	}
	return names
}
