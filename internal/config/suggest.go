package config

import (
	"fmt"
	"strings"
)

// unknown says that name is none of the known words, with the likeliest one or
// else all of them.
func unknown(what, name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("unknown %s; did you mean %s?", what, near)
	}
	if len(known) == 0 {
		return fmt.Sprintf("unknown %s; none is defined", what)
	}
	return fmt.Sprintf("unknown %s; known here: %s", what, strings.Join(known, ", "))
}

// nearest returns the known word within one edit (two for names above four
// letters) of name, or "".
func nearest(name string, known []string) string {
	limit := 1
	if len(name) > 4 {
		limit = 2
	}
	best, word := limit+1, ""
	for _, k := range known {
		if len(k)-len(name) > limit || len(name)-len(k) > limit {
			continue
		}
		if d := distance(strings.ToLower(name), k); d < best {
			best, word = d, k
		}
	}
	return word
}

// distance is the number of octets inserted, removed, changed, or swapped with
// their neighbour (optimal string alignment) between a and b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
