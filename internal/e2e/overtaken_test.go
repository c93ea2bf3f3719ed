//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// detour sends three of forty packets that the fabric forwards to the host's port, if they match, through a slow
// queue of their own: the second and third wait there for its tokens, and others overtake them.
func detour(t *testing.T, l *lab.Lab, to *lab.Host, match string) {
	t.Helper()
	port := l.Fabric().Port(to)
	for _, c := range []string{
		"tc qdisc add dev " + port + " root handle 1: htb default 1",
		"tc class add dev " + port + " parent 1: classid 1:1 htb rate 1gbit",
		"tc class add dev " + port + " parent 1: classid 1:3 htb rate 10kbit burst 100 cburst 100",
		"nft add table inet detour",
		"nft add chain inet detour forward { type filter hook forward priority 0; }",
		fmt.Sprintf("nft add rule inet detour forward oifname %s udp %s numgen inc mod 40 >= 37 counter meta priority set 1:3", port, match),
	} {
		args := strings.Fields(c)
		out, err := l.Fabric().Command(t.Context(), args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%s: %s", c, out)
	}
}

// overtaken counts, at the fabric's port to the prober, the replies that came after one to a later probe.
func overtaken(records []lab.Record) (n int64) {
	next := map[[2]netip.AddrPort]uint32{}
	for _, r := range records {
		if r.Direction != lab.ToHost || len(r.Head) < 44 {
			continue
		}
		flow, seq := [2]netip.AddrPort{r.Src, r.Dst}, binary.BigEndian.Uint32(r.Head[24:])
		if seq < next[flow] {
			n++
			continue
		}
		next[flow] = seq + 1
	}
	return n
}

// TestOvertakenRepliesAreReordered: some of the probes, or of the replies, take a slower path through the fabric.
// As many are reordered as its tap saw overtaken, and none is lost for it.
func TestOvertakenRepliesAreReordered(t *testing.T) {
	for name, reverse := range map[string]bool{"probes": false, "replies": true} {
		of := emissions
		if reverse {
			of = emissions[:2] // the order in which replies are taken is the same for all in the kernel
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachEmission(t, of, func(t *testing.T, e emission) {
				t.Parallel()
				l := lab.ForTest(t, 2)
				h1, h2 := l.Host(1), l.Host(2)
				reflect(t, h2)
				if reverse {
					detour(t, l, h1, "sport 862")
				} else {
					detour(t, l, h2, "dport 862")
				}
				tap, err := l.Fabric().Tap(h1)
				require.NoError(t, err)
				near := e.begin(t, l, h1, "timeout: 2s, late: 6s, window: 1s", oneTarget)
				near.writes(t, "one", 3)
				near.stop(t)
				records, err := tap.Stop()
				require.NoError(t, err)
				truth := lab.RTTTruth(records, lab.TruthOptions{})
				require.Zero(t, truth.Unanswered+truth.Duplicates+truth.Strays)
				sum, _ := pathTo(readLines(t, near.output), "one")
				want := overtaken(records)
				t.Logf("overtaken %d: %+v", want, sum)
				require.Positive(t, want)
				require.Equal(t, want, sum.Reordered)
				require.EqualValues(t, truth.Requests, sum.Sent)
				require.Equal(t, sum.Sent, sum.Received+sum.Late)
			})
		})
	}
}
