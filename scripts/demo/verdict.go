//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// losses are the probes that each pair of hosts lost, by direction, over all classes.
type losses struct {
	hosts            []string
	forward, reverse map[[2]string]int64 // by prober and target
	counts           counts              // of all pairs
}

func lossesOf(hosts []string, s *state) losses {
	l := losses{hosts: hosts, forward: map[[2]string]int64{}, reverse: map[[2]string]int64{}, counts: s.sum()}
	for p, c := range s.total {
		pair := [2]string{p.src, p.dst}
		l.forward[pair] += c.forward
		l.reverse[pair] += c.reverse
	}
	return l
}

// towards names the host that all loss is towards: each other host lost probes
// on the way to it, it lost the answers to its own, and nothing else was lost.
// Empty if there is no such host.
func (l *losses) towards() string {
	found := ""
	for _, host := range l.hosts {
		if l.only(host) {
			found = host
		}
	}
	return found
}

func (l *losses) only(host string) bool {
	for _, src := range l.hosts {
		for _, dst := range l.hosts {
			pair := [2]string{src, dst}
			if src != dst && (l.forward[pair] > 0 != (dst == host) || l.reverse[pair] > 0 != (src == host)) {
				return false
			}
		}
	}
	// The rest is what no later reply had decided: a few at most.
	return 10*l.counts.unsplit <= l.counts.lost
}

// pairs lists the pairs with loss in a direction.
func (l *losses) pairs(by map[[2]string]int64) string {
	var out []string
	for pair, n := range by {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s→%s %d", pair[0], pair[1], n))
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// verdict compares what the agents say with what was done: dropped is the
// kernel's counter of packets dropped towards the host.
func (l *losses) verdict(host string, dropped uint64) (text string, found bool) {
	c := &l.counts
	where := l.towards()
	figures := fmt.Sprintf("(kernel dropped %d, agents counted %d lost: %d forward, %d reverse", dropped, c.lost, c.forward, c.reverse)
	if c.unsplit > 0 {
		figures += fmt.Sprintf(", %d undecided", c.unsplit)
	}
	figures += ")"
	switch {
	case dropped == 0:
		return "not found: nothing was dropped, there was nothing to find " + figures, false
	case where == "":
		text = "not found: the agents' losses do not point at one host "
	case where != host:
		text = fmt.Sprintf("not found: the agents point at %s, the fault is towards %s ", where, host)
	case c.lost != int64(dropped):
		text = "not found: it is towards " + host + ", but the counts differ "
	default:
		return "found: packets towards " + host + " are lost " + figures, true
	}
	if n := c.hostDrops + c.localDrop + c.notSent; n > 0 {
		figures += fmt.Sprintf("; this machine is overloaded: %d drops of its own", n)
	}
	return text + figures, false
}
