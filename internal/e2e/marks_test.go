//go:build linux

package e2e

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

const (
	be   = 0
	af11 = 10
	ef   = 46
)

// TestRewrittenClassIsShown rewrites EF in the fabric on one way: that way shows it, and no probe is dropped for it.
func TestRewrittenClassIsShown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		reverse          bool
		forward, backNow int
	}{
		{"forward", false, af11, ef}, // the Class of Service TLV asks for EF on the way back
		{"reverse", true, ef, af11},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
				l := lab.ForTest(t, 2)
				lab.Require(t, lab.Nftables)
				h1, h2 := l.Host(1), l.Host(2)
				reflect(t, h2)
				rule := lab.Rule{From: h1, To: h2, DSCP: lab.DSCP(ef)}
				if c.reverse {
					rule.From, rule.To = h2, h1
				}
				_, err := l.Fabric().Rewrite(rule, af11)
				require.NoError(t, err)
				r, status := ping(t, h1, load(2, 10, 10*time.Millisecond, "--mode", mode, "--dscp", "ef", target(h2.Addr(six)))...)
				require.Zero(t, status)
				require.Equal(t, r.allReceived(20), r.counts)
				require.Equal(t, ef, r.DSCP.Sent)
				require.Equal(t, &c.forward, r.DSCP.Forward)
				require.Equal(t, &c.backNow, r.DSCP.Reverse)
			})
		})
	}
}

// TestClassesDoNotMix looks at every packet of a run in two classes: DSCP by SSID, TTL 255, DF.
func TestClassesDoNotMix(t *testing.T) {
	t.Parallel()
	families(t, func(t *testing.T, six bool) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		fragments := countFragmentable(t, h1)
		tap1, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		tap2, err := l.Fabric().Tap(h2)
		require.NoError(t, err)
		p := startPing(t, h1, load(4, 50, 11*time.Millisecond, "--dscp", "ef,be", target(h2.Addr(six)))...)
		results, status := p.wait(t)
		require.Zero(t, status)
		require.Len(t, results, 2)
		one, sent := 1, 0
		for _, r := range results {
			require.Equal(t, r.allReceived(200), r.counts)
			sent += int(r.Sent)
			dscp := map[string]int{"ef": ef, "be": be}[r.Class]
			require.Equal(t, dscp, r.DSCP.Sent)
			require.Equal(t, ways{&dscp, &dscp}, r.DSCP.ways)
			require.Equal(t, ways{&one, &one}, r.Hops)
		}
		for _, tap := range []*lab.Tap{tap1, tap2} {
			records, err := tap.Stop()
			require.NoError(t, err)
			var seen [3]int
			for _, r := range records {
				ssid := binary.BigEndian.Uint16(r.Head[14:])
				require.Contains(t, []uint16{1, 2}, ssid)
				seen[ssid]++
				require.EqualValues(t, []int{0, ef, be}[ssid], r.DSCP, "SSID %d", ssid)
				if r.Direction == lab.FromHost {
					require.EqualValues(t, 255, r.TTL)
				}
				require.Equal(t, 68, r.Length)
			}
			require.Equal(t, 2*sent, seen[1]+seen[2])
		}
		if !six { // IPv6 has no such flag: routers never fragment
			require.Equal(t, [2]int{0, 2 * sent}, fragments(), "probes and replies without DF")
		}
	})
}

// countFragmentable counts the IPv4 UDP packets that leave a host, or come to it, without DF and with it. At the
// reflector's end nothing could: what is reflected in the kernel passes no hook there.
func countFragmentable(t *testing.T, h *lab.Host) func() [2]int {
	t.Helper()
	nft(t, h, "add table ip e2e; add counter ip e2e fragmentable; add counter ip e2e whole")
	for _, way := range [][2]string{{"output", "oifname"}, {"input", "iifname"}} {
		nft(t, h, fmt.Sprintf("add chain ip e2e %[1]s { type filter hook %[1]s priority 0; }; "+
			"add rule ip e2e %[1]s %[2]s != lo meta l4proto udp ip frag-off & 0x4000 == 0 counter name fragmentable; "+
			"add rule ip e2e %[1]s %[2]s != lo meta l4proto udp ip frag-off & 0x4000 != 0 counter name whole", way[0], way[1]))
	}
	return func() [2]int { return [2]int{counter(t, h, "fragmentable"), counter(t, h, "whole")} }
}
