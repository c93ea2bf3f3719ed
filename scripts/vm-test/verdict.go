package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/llama-agent/llama-agent/scripts/vm-test/wire"
)

// A verdict is what a guest's run came to.
type verdict struct {
	release  string
	results  []*result // in order
	lacking  []string  // modules
	problems []string  // each makes the run a failure
	took     time.Duration
}

func (v *verdict) problem(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

// judge reads what the guest wrote. Whatever is missing is a problem: silence is no success.
func judge(r io.Reader, planned []wire.Run) *verdict {
	v := &verdict{}
	var open *result
	done := false
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		e, isEvent := wire.Parse(bytes.TrimSuffix(line, []byte("\n")))
		switch {
		case !isEvent && open != nil:
			open.line(line)
		case !isEvent:
		case e.Kind == wire.Boot:
			v.release = e.Text
		case e.Kind == wire.Problem:
			v.problem("%s", e.Text)
		case e.Kind == wire.Begin:
			open = newResult(e.Package)
			v.results = append(v.results, open)
		case e.Kind == wire.End && open != nil && open.pkg == e.Package:
			open.end(v, &e)
			open = nil
		case e.Kind == wire.Done:
			done = true
		}
		if err != nil {
			break
		}
	}
	v.complete(planned, open, done)
	return v
}

func (v *verdict) complete(planned []wire.Run, open *result, done bool) {
	switch {
	case v.release == "":
		v.problem("the guest did not come up")
	case open != nil:
		v.problem("the guest died in %s, during %s; its last words:\n%s", open.pkg, open.current(), tail(open.output, 20))
	case !done:
		v.problem("the guest gave no verdict")
	}
	if done && len(v.results) != len(planned) {
		v.problem("%d packages ran, want %d", len(v.results), len(planned))
	}
	if n := v.count(); done && n.run == 0 {
		v.problem("no test ran")
	}
}

// newer is how a test says from which kernel on it runs.
var newer = regexp.MustCompile(`\(Linux ([0-9]+\.[0-9]+)\)`)

// refuseSkips makes each skip a problem, but those of tests that need a newer kernel than this version.
func (v *verdict) refuseSkips(version string) {
	for _, r := range v.results {
		for _, name := range r.leaves() {
			if r.tests[name] != skipped {
				continue
			}
			why := strings.Join(r.lastWords(name, 1), "")
			if m := newer.FindStringSubmatch(why); m == nil || compareVersions(version, m[1]) >= 0 {
				v.problem("%s %s was skipped, and LLAMA_TEST_NOSKIP is set", r.pkg, name)
			}
		}
	}
}

func (v *verdict) count() (n counts) {
	for _, r := range v.results {
		c := r.count()
		n.run += c.run
		n.passed += c.passed
		n.skipped += c.skipped
		n.failed += c.failed
	}
	return n
}

func (v *verdict) ok() bool { return len(v.problems) == 0 && v.count().failed == 0 }
