//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var testHosts = []string{"h1", "h2", "h3"}

// towardsH3 is what three agents tell of 2 % loss towards h3.
func towardsH3() map[path]counts {
	total := map[path]counts{}
	for _, p := range mesh(testHosts) {
		c := counts{sent: 1000}
		switch {
		case p.dst == "h3":
			c.lost, c.forward = 20, 20
		case p.src == "h3":
			c.lost, c.reverse = 21, 21
		}
		total[p] = c
	}
	return total
}

func TestVerdict(t *testing.T) {
	change := func(p path, with counts) func(map[path]counts) {
		return func(total map[path]counts) {
			c := total[p]
			c.add(with)
			total[p] = c
		}
	}
	tests := map[string]struct {
		change  func(map[path]counts)
		host    string
		dropped uint64
		want    string
		found   bool
	}{
		"found": {nil, "h3", 164,
			"found: packets towards h3 are lost (kernel dropped 164, agents counted 164 lost: 80 forward, 84 reverse)", true},
		"found, one undecided": {change(path{"h1", "h3", "be"}, counts{lost: 1, unsplit: 1}), "h3", 165,
			"found: packets towards h3 are lost (kernel dropped 165, agents counted 165 lost: 80 forward, 84 reverse, 1 undecided)", true},
		"too much undecided": {change(path{"h1", "h3", "be"}, counts{lost: 40, unsplit: 40}), "h3", 204,
			"not found: the agents' losses do not point at one host (kernel dropped 204, agents counted 204 lost: 80 forward, 84 reverse, 40 undecided)", false},
		"one too few": {nil, "h3", 165,
			"not found: it is towards h3, but the counts differ (kernel dropped 165, agents counted 164 lost: 80 forward, 84 reverse)", false},
		"one too many, overloaded": {change(path{"h1", "h3", "be"}, counts{lost: 1, forward: 1, hostDrops: 2, notSent: 3}), "h3", 164,
			"not found: it is towards h3, but the counts differ (kernel dropped 164, agents counted 165 lost: 81 forward, 84 reverse); this machine is overloaded: 5 drops of its own", false},
		"elsewhere": {nil, "h2", 164,
			"not found: the agents point at h3, the fault is towards h2 (kernel dropped 164, agents counted 164 lost: 80 forward, 84 reverse)", false},
		"loss between the others too": {change(path{"h1", "h2", "ef"}, counts{lost: 1, forward: 1}), "h3", 165,
			"not found: the agents' losses do not point at one host (kernel dropped 165, agents counted 165 lost: 81 forward, 84 reverse)", false},
		"wrong direction": {change(path{"h1", "h3", "ef"}, counts{lost: 1, reverse: 1}), "h3", 165,
			"not found: the agents' losses do not point at one host (kernel dropped 165, agents counted 165 lost: 80 forward, 85 reverse)", false},
		"the fabric dropped nothing": {func(total map[path]counts) { clear(total) }, "h3", 0,
			"not found: nothing was dropped, there was nothing to find (kernel dropped 0, agents counted 0 lost: 0 forward, 0 reverse)", false},
		"agents blind": {func(total map[path]counts) { clear(total) }, "h3", 164,
			"not found: the agents' losses do not point at one host (kernel dropped 164, agents counted 0 lost: 0 forward, 0 reverse)", false},
		"one host did not notice": {func(total map[path]counts) {
			total[path{"h1", "h3", "be"}], total[path{"h1", "h3", "ef"}] = counts{}, counts{}
		}, "h3", 124,
			"not found: the agents' losses do not point at one host (kernel dropped 124, agents counted 124 lost: 40 forward, 84 reverse)", false},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s := state{total: towardsH3()}
			if c.change != nil {
				c.change(s.total)
			}
			l := lossesOf(testHosts, &s)
			text, found := l.verdict(c.host, c.dropped)
			require.Equal(t, c.want, text)
			require.Equal(t, c.found, found)
		})
	}
}

func TestPairsAreListedByDirection(t *testing.T) {
	l := lossesOf(testHosts, &state{total: towardsH3()})
	require.Equal(t, "h1→h3 40, h2→h3 40", l.pairs(l.forward))
	require.Equal(t, "h3→h1 42, h3→h2 42", l.pairs(l.reverse))
	l = lossesOf(testHosts, &state{})
	require.Equal(t, "none", l.pairs(l.forward))
}
