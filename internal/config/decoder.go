package config

import (
	"fmt"
	"hash"
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	maxProblems = 1000    // told at once
	maxExpanded = 200_000 // nodes that aliases may add; a small file could else become a huge one
)

// env is what the verdict on a file depends on beside the file.
type env struct {
	hostname  func() (string, error)
	ephemeral PortRange      // zero: unknown
	connected []netip.Prefix // directly connected now; only a warning depends on it
	exposed   bool           // the file is readable by all
	digest    hash.Hash      // takes all that is read; nil: nobody asks
	before    *Config        // whose lists stay where new ones are not to be had; nil: none
	fetched   Fetched        // nil: nothing is known of lists elsewhere
}

// decoder collects what one walk over a file finds.
type decoder struct {
	file     string
	env      env
	cfg      *Config
	problems []Problem
	warnings []Problem
	given    map[string]*yaml.Node // by path: what the file sets, and where
	bad      map[string]bool       // by path: what has a problem
	later    []func()              // what refers to other keys, by name
	keys     map[string][]byte     // reflector.keys; nil if one is wrong
	expanded int
	away     bool // the file is not of this host, and names none of its files
}

func newDecoder(file string, e env) *decoder {
	return &decoder{
		file: file, env: e, cfg: base(),
		given: map[string]*yaml.Node{}, bad: map[string]bool{}, keys: map[string][]byte{},
	}
}

// put records a problem at a node. Beyond maxProblems it only counts.
func (d *decoder) put(at *yaml.Node, path, text string) {
	d.bad[path] = true
	if i := strings.LastIndexByte(path, '['); i > 0 && strings.HasSuffix(path, "]") {
		d.bad[path[:i]] = true // a list with a bad element is bad
	}
	d.problems = append(d.problems, d.problem(at, path, text))
}

func (d *decoder) problem(at *yaml.Node, path, text string) Problem {
	p := Problem{File: d.file, Path: path, Text: text}
	if at != nil {
		p.Line, p.Col = at.Line, at.Column
	}
	return p
}

// finding takes what [Config.check] found: at the first of the paths that the
// file sets, and only if none of them is wrong by itself.
func (d *decoder) finding(warn bool, text string, paths ...string) {
	path, at := paths[0], (*yaml.Node)(nil)
	for _, p := range paths {
		if d.bad[p] {
			return
		}
		if n := d.given[p]; n != nil && at == nil {
			path, at = p, n
		}
	}
	if warn {
		d.warnings = append(d.warnings, d.problem(at, path, text))
		return
	}
	d.problems = append(d.problems, d.problem(at, path, text))
}

// errors is all problems, or nil.
func (d *decoder) errors() error {
	if len(d.problems) == 0 {
		return nil
	}
	ps := tidy(d.problems)
	if n := len(ps); n > maxProblems {
		ps = append(ps[:maxProblems:maxProblems], Problem{File: d.file, Text: fmt.Sprintf("and %d more", n-maxProblems)})
	}
	return Errors(ps)
}
