package config

import (
	"fmt"
	"maps"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// entry is a target, and the list that names it.
type entry struct {
	probe.Target
	list string
}

// CheckList tells whether data is a list at all, whatever its entries are worth.
func CheckList(name string, data []byte) error {
	_, err := parsePart(name, data)
	return err
}

func parsePart(name string, data []byte) (part, error) {
	const looked = 1024
	if text := strings.TrimSpace(strings.TrimPrefix(string(data[:min(len(data), looked)]), "\ufeff")); strings.HasPrefix(text, "<") {
		return part{}, fmt.Errorf("%s: is HTML or XML, and no list of targets", name)
	}
	root, p := document(name, data)
	switch {
	case p != nil:
		return part{}, fmt.Errorf("%s", p)
	case root != nil && root.Kind != yaml.MappingNode && root.Tag != "!!null":
		return part{}, fmt.Errorf("%s:%d: is %s, and a list of targets is a map, as {NAME: {TAG: VALUE}}", name, root.Line, kindName(root.Kind))
	}
	return part{name, data, root}, nil
}

// judge returns the entries of a list that are in force, and notes why others are not.
func (r *listReader) judge(l *List) (in []entry) {
	for _, p := range l.parts {
		if p.root == nil {
			p, _ = parsePart(p.name, p.data) // it was parsed before
		}
		if p.root == nil {
			continue
		}
		sub := newDecoder(p.name, r.d.env)
		sub.keys, sub.away = r.d.keys, l.away
		pairs := value{d: sub}.child(p.root, nil, "targets").pairs()
		l.refuse(len(sub.problems), sub.problems) // keys that are none, and those given twice
		seen := make(map[string]bool, len(pairs))
		for _, pair := range pairs {
			if seen[pair.key] {
				continue
			}
			seen[pair.key] = true
			sub.problems, sub.later = nil, nil
			e := entry{list: p.name}
			sub.target(pair, &e.Target)
			maps.Copy(e.Tags, l.tags)
			for _, f := range sub.later {
				f()
			}
			why, doubt := r.room.unfit(&e)
			if why != "" && len(sub.problems) == 0 {
				sub.put(pair.at, pair.path, why)
			}
			if doubt != "" {
				pair.warn("%s", doubt)
			}
			if len(sub.problems) > 0 || sub.bad["*"] {
				l.refuse(1, sub.problems)
				continue
			}
			sub.assignPath(&e.Target, r.d.cfg.Probing.Paths)
			in = append(in, e)
			r.room.take(in[len(in)-1:])
		}
		r.d.warnings = append(r.d.warnings, sub.warnings[:min(len(sub.warnings), maxTold)]...)
	}
	l.Problems = tidy(l.Problems)
	return in
}

// refuse counts entries that are left out, and keeps the first reasons.
func (l *List) refuse(entries int, why []Problem) {
	l.Refused += entries
	l.Problems = append(l.Problems, why[:min(len(why), maxTold-len(l.Problems))]...)
}
