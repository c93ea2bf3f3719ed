package config

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// value is a node of the file on the walk.
type value struct {
	d    *decoder
	n    *yaml.Node // never an alias
	at   *yaml.Node // where its problems are shown: the key of a map or list, the value itself else
	path string
}

// pair is one entry of a map.
type pair struct {
	key string
	at  *yaml.Node // the key
	value
}

func (v value) problem(format string, args ...any) {
	v.d.put(v.at, v.path, fmt.Sprintf(format, args...))
}

func (v value) warn(format string, args ...any) {
	v.d.warnings = append(v.d.warnings, v.d.problem(v.at, v.path, fmt.Sprintf(format, args...)))
}

// child is the value n that stands under the key node at (nil in a list).
func (v value) child(n, at *yaml.Node, path string) value {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
		v.d.expanded += 1 + len(n.Content)
		if v.d.expanded > maxExpanded {
			if v.d.expanded -= len(n.Content); !v.d.bad["*"] {
				v.d.put(at, "*", fmt.Sprintf("aliases add more than %d values", maxExpanded))
			}
			n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
		}
	}
	c := value{d: v.d, n: n, at: n, path: path}
	if at != nil && (n.Kind != yaml.ScalarNode || n.Tag == "!!null") {
		c.at = at
	}
	v.d.given[path] = c.at
	return c
}

func (v value) null() bool { return v.n.Kind == yaml.ScalarNode && v.n.Tag == "!!null" }

// is tells whether the node has the kind that is wanted, and complains if not.
func (v value) is(kind yaml.Kind, want string) bool {
	switch {
	case v.n.Kind != kind:
		v.problem("%s is expected here, not %s", want, kindName(v.n.Kind))
	case v.n.Style&yaml.TaggedStyle != 0:
		v.problem("the YAML tag %s is not used here: remove it", show(v.n.Tag))
	default:
		return true
	}
	return false
}

func kindName(k yaml.Kind) string {
	switch k {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// scalar is the text of a single value exactly as written: 01 stays 01.
func (v value) scalar() (string, bool) {
	if !v.is(yaml.ScalarNode, "a single value") {
		return "", false
	}
	if v.null() {
		v.problem("has no value")
		return "", false
	}
	return v.n.Value, true
}

// list is the elements of a list; a key without a value is an empty one.
func (v value) list() []value {
	if v.null() || !v.is(yaml.SequenceNode, "a list, as [a, b],") {
		return nil
	}
	items := make([]value, len(v.n.Content))
	for i, n := range v.n.Content {
		items[i] = v.child(n, nil, v.path+"["+strconv.Itoa(i)+"]")
	}
	return items
}

// pairs is the entries of a map; a key without a value is an empty one.
func (v value) pairs() []pair {
	if v.null() || !v.is(yaml.MappingNode, "a map, as {key: value},") {
		return nil
	}
	first := make(map[string]int, len(v.n.Content)/2) // line by key
	pairs := make([]pair, 0, len(v.n.Content)/2)
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, n := v.n.Content[i], v.n.Content[i+1]
		if k.Kind == yaml.AliasNode && k.Alias != nil {
			k = k.Alias
		}
		switch line, again := first[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			v.d.put(k, v.path, "a key is a single word here, not "+kindName(k.Kind))
		case k.Tag == "!!merge":
			v.d.put(k, v.under(k.Value), "merge keys are not supported: write the values out")
		default:
			if again {
				v.d.put(k, v.under(k.Value), fmt.Sprintf("given twice, first in line %d: remove one", line))
			} else {
				first[k.Value] = k.Line
			}
			// What is below the second one is judged too: all mistakes at once.
			pairs = append(pairs, pair{k.Value, k, v.child(n, k, v.under(k.Value))})
		}
	}
	return pairs
}

// under is the path of a key in this map.
func (v value) under(key string) string {
	if v.path == "" {
		return keyText(key)
	}
	return v.path + "." + keyText(key)
}

// keyText is a key as it is shown in a path: quoted if it could mislead.
func keyText(key string) string {
	if key == "" || strings.ContainsAny(key, " .:[]\"\\") || strconv.Quote(key) != `"`+key+`"` || len(key) > 64 {
		return show(key)
	}
	return key
}

// show quotes a text for a message, shortened.
func show(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
	}
	return strconv.Quote(s)
}
