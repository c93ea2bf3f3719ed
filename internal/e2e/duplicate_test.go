//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestDuplicatesAreCountedOnce doubles probes or replies in the fabric: each probe is received once, every
// further reply is a duplicate, and nothing is lost in either direction for it.
func TestDuplicatesAreCountedOnce(t *testing.T) {
	for _, c := range []struct {
		name    string
		reverse bool
		every   uint32
	}{
		{"every probe", false, 0},
		{"every third probe", false, 3},
		{"every reply", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMode(t, func(t *testing.T, mode string) {
				t.Parallel()
				l := lab.ForTest(t, 2)
				lab.Require(t, lab.Duplication)
				h1, h2 := l.Host(1), l.Host(2)
				reflect(t, h2)
				rule := lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Every: c.every}
				if c.reverse {
					rule = lab.Rule{From: h2, To: h1, SrcPort: lab.DefaultReflectorPort, Every: c.every}
				}
				fault, err := l.Fabric().Duplicate(rule)
				require.NoError(t, err)
				r, status := ping(t, h1, load(3, 100, 11*time.Millisecond, "--mode", mode, target(h2.IPv4))...)
				require.Zero(t, status)
				require.EqualValues(t, 300, r.due())
				require.Equal(t, r.Sent, r.Received)
				require.Positive(t, r.Duplicate)
				// The run may end before the copy of the very last reply.
				require.InDelta(t, hits(t, fault), r.Duplicate, 1)
				require.Zero(t, r.Lost+r.Refused+r.Late)
			})
		})
	}
}
