//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// lengthen are rules of the fabric that take one more off the TTL, or hop limit, of what it forwards and matches, as one
// more router on the way would: what comes with 255 leaves it with 253.
func lengthen(match string) string {
	return "add rule inet longer forward " + match + " ip ttl set 253; add rule inet longer forward " + match + " ip6 hoplimit set 253; "
}

func fabricNft(t *testing.T, l *lab.Lab, rules string) {
	t.Helper()
	out, err := l.Fabric().Command(t.Context(), "nft", rules).CombinedOutput()
	require.NoError(t, err, "%s: %s", rules, out)
}

// lengths follows, at a port of the fabric, the number of routers that the packets of each flow had behind them.
type lengths struct {
	now     map[[2]netip.AddrPort]uint8
	changes int64
}

// lengthsOf looks at what leaves the fabric by the tap's port, to or from the reflector.
func lengthsOf(records []lab.Record, probes bool) lengths {
	all := lengths{now: map[[2]netip.AddrPort]uint8{}}
	for _, r := range records {
		if r.Direction != lab.ToHost || (r.Dst.Port() == lab.DefaultReflectorPort) != probes {
			continue
		}
		flow, n := [2]netip.AddrPort{r.Src, r.Dst}, 255-r.TTL
		if was, ok := all.now[flow]; ok && was != n {
			all.changes++
		}
		all.now[flow] = n
	}
	return all
}

// TestPathGetsLonger: while they are probed, the way there of five of eight flows gets a router longer and the way back
// of two others, then all is as it was. Each change is counted, once and of the flows that had it.
func TestPathGetsLonger(t *testing.T) {
	t.Parallel()
	eachEmission(t, emissions[:2], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		const flows = 8
		near := (&running{host: h1, datapath: fmt.Sprintf(", mode: %s, interfaces: [eth0]", e.mode), pace: "ports: 8, interval: 50ms",
			probing: e.probing + ", flow_lines: all"}).begin(t, bothTargets(h2))
		taps := [2]*lab.Tap{}
		for i, h := range []*lab.Host{h2, h1} {
			var err error
			taps[i], err = l.Fabric().Tap(h)
			require.NoError(t, err)
		}
		// step waits for a whole window after what was done before it.
		step := func() {
			_, before := pathTo(readLines(t, near.output), "six")
			near.writes(t, "six", before+3)
		}
		near.writes(t, "six", 2) // the first may be too short for all flows
		ports := portsOf(readLines(t, near.output))
		require.Len(t, ports, flows)
		fabricNft(t, l, "add table inet longer; add chain inet longer forward { type filter hook forward priority 0; }; "+
			lengthen("udp dport 862 udp sport { "+strings.Join(ports[:5], ", ")+" }")+
			lengthen("udp sport 862 udp dport { "+strings.Join(ports[5:7], ", ")+" }"))
		step()
		lines := readLines(t, near.output)
		requireHops(t, lines, 2, 1, 2*(5+2))
		for _, x := range lastFlows(lines, flows) {
			if x.ints["received"] == 0 {
				continue // a machine that stood still
			}
			i := slices.Index(ports, x.tags["src_port"])
			require.Equal(t, i < 5, x.ints["hops_forward"] == 2, "port %d of them: %+v", i, x.ints)
			require.Equal(t, i == 5 || i == 6, x.ints["hops_reverse"] == 2, "port %d of them: %+v", i, x.ints)
		}
		fabricNft(t, l, "delete table inet longer")
		step()
		near.stop(t)
		lines = readLines(t, near.output)
		requireHops(t, lines, 1, 1, 2*2*(5+2))
		sum := pathToBoth(lines)
		require.Positive(t, sum.Received)
		require.Equal(t, sum.Sent, sum.Received+sum.Late, "%+v", sum)

		var changes int64
		for i, tap := range taps {
			records, err := tap.Stop()
			require.NoError(t, err)
			changes += lengthsOf(records, i == 0).changes
		}
		require.EqualValues(t, 2*2*(5+2), changes, "as the fabric's ports saw them")
	})
}

// portsOf are the source ports of the lines of flows, in order.
func portsOf(lines []line) (ports []string) {
	for _, x := range lines {
		if p := x.tags["src_port"]; x.measurement == "llama_flow" && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	slices.Sort(ports)
	return ports
}

// lastFlows are the last lines of so many flows to both targets.
func lastFlows(lines []line, flows int) []line {
	of := slices.DeleteFunc(slices.Clone(lines), func(x line) bool { return x.measurement != "llama_flow" })
	return of[len(of)-2*flows:]
}

// requireHops holds the last line to each target against the commonest lengths of the paths, and all lines against
// how many changes there were.
func requireHops(t *testing.T, lines []line, forward, reverse, changed int64) {
	t.Helper()
	for _, dst := range []string{"four", "six"} {
		var at line
		for _, x := range lines {
			if x.measurement == "llama_path" && x.tags["dst"] == dst && x.ints["received"] > 0 {
				at = x
			}
		}
		require.Equal(t, [2]int64{forward, reverse}, [2]int64{at.ints["hops_forward"], at.ints["hops_reverse"]}, "to %s", dst)
	}
	var sum int64
	for _, x := range lines {
		if x.measurement == "llama_path" {
			sum += x.ints["flows_path_changed"]
		}
	}
	require.Equal(t, changed, sum)
}
