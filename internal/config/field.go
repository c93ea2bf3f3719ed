package config

import "fmt"

// field is one key of a section.
type field struct {
	key  string
	read func(value)
	each string  // what stands between key and those of sub: "" a section, "[]" a list, ".NAME" a map by name
	sub  []field // the keys below, as the document lists them
}

// section is a key with keys of its own.
func section(key string, fs ...field) field {
	return field{key: key, sub: fs, read: func(v value) { v.section(fs) }}
}

// scalar is a key with a single value.
func scalar[T any](key string, dst *T, parse func(string) (T, error)) field {
	return field{key: key, read: func(v value) { readScalar(v, dst, parse) }}
}

func readScalar[T any](v value, dst *T, parse func(string) (T, error)) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	t, err := parse(s)
	if err != nil {
		v.problem("%v", err)
		return
	}
	*dst = t
}

// listOf is a key with a list of single values, none of them twice.
func listOf[T comparable](key string, dst *[]T, parse func(string) (T, error)) field {
	return field{key: key, read: func(v value) { *dst = readList(v, parse) }}
}

func readList[T comparable](v value, parse func(string) (T, error)) []T {
	var all []T
	first := map[T]int{}
	for _, item := range v.list() {
		var t T
		readScalar(item, &t, parse)
		if v.d.bad[item.path] {
			continue
		}
		if line, again := first[t]; again {
			item.problem("given twice, first in line %d: remove one", line)
			continue
		}
		first[t] = item.n.Line
		all = append(all, t)
	}
	return all
}

// section reads a map whose keys are those of the table.
func (v value) section(fs []field) {
	v.sectionElse(fs, func(p pair) {
		v.d.put(p.at, p.path, unknown("key", p.key, keysOf(fs)))
	})
}

// sectionElse reads a map, and gives the keys that the table lacks to other.
func (v value) sectionElse(fs []field, other func(pair)) {
	for _, p := range v.pairs() {
		if f := find(fs, p.key); f != nil {
			f.read(p.value)
		} else {
			other(p)
		}
	}
}

func find(fs []field, key string) *field {
	for i := range fs {
		if fs[i].key == key {
			return &fs[i]
		}
	}
	return nil
}

func keysOf(fs []field) []string {
	keys := make([]string, len(fs))
	for i, f := range fs {
		keys[i] = f.key
	}
	return keys
}

// oneOf complains if the map sets both keys.
func (v value) oneOf(a, b string) {
	if v.d.given[v.under(a)] != nil && v.d.given[v.under(b)] != nil {
		v.d.put(v.d.given[v.under(b)], v.under(b), fmt.Sprintf("given beside %s: only one of them", a))
	}
}

// sets tells whether the map has the key.
func (v value) sets(key string) bool { return v.d.given[v.under(key)] != nil }
