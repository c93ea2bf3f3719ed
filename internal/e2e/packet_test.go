//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// measurePackets is measure, whose near agent sends frames. Their checksums stay as it made them: offload is off in the lab.
func measurePackets(t *testing.T, mode, probing string) *measured {
	t.Helper()
	m := measureWith(t, mode, ", emit: packet"+probing)
	m.near.logs(t, "probes leave as frames")
	return m
}

// reasonsOf are the probes not sent since the start, by reason, by the last line of the agent itself.
func reasonsOf(t *testing.T, r *running) map[string]int64 {
	t.Helper()
	reasons := map[string]int64{}
	for k, n := range last(t, readLines(t, r.output)) {
		if name, ok := strings.CutPrefix(k, "collector_not_sent_"); ok && n > 0 {
			reasons[name] = n
		}
	}
	return reasons
}

// TestPacketsAreMeasured: nothing of UDP leaves the host but frames that the far kernel finds whole, and all come back.
func TestPacketsAreMeasured(t *testing.T) {
	for _, mode := range []string{"native", "tc"} {
		t.Run(mode, func(t *testing.T) {
			m := measurePackets(t, mode, ", classes: [be, ef], sizes: [96, 601, 1500]")
			sentBySockets := udpSent(t, m.h1)
			m.near.writes(t, "four", 10)
			m.near.writes(t, "six", 10)
			require.Equal(t, sentBySockets, udpSent(t, m.h1), "the stack sent none of them")
			m.near.stop(t)
			lines := readLines(t, m.near.output)
			sums := byClock(lines)
			require.Len(t, sums, 1, "%v", sums)
			sum := sums["kernel"]
			require.Greater(t, sum.Received, int64(1000))
			require.Equal(t, counts{Sent: sum.Sent, Received: sum.Received, NotSent: sum.NotSent}, sum)
			largest := map[string]int64{}
			for _, l := range lines {
				if l.measurement != "llama_path" {
					continue
				}
				require.EqualValues(t, map[string]int{"be": 0, "ef": ef}[l.tags["class"]], l.ints["dscp_forward"], "%v", l)
				require.EqualValues(t, 1, l.ints["hops_forward"])
				// The last window may be too short for all sizes to have had their turn.
				require.Equal(t, l.ints["size_max_sent"], l.ints["size_max"], "%v", l)
				path := l.tags["dst"] + " " + l.tags["class"]
				largest[path] = max(largest[path], l.ints["size_max"])
			}
			require.Equal(t, map[string]int64{"four be": 1500, "four ef": 1500, "six be": 1500, "six ef": 1500}, largest)
			said := inKernel(t, m.h2, m.far.pin)
			require.Zero(t, said["drop udp_checksum"]+said["pass udp_checksum"], "%v", said)
			require.EqualValues(t, sum.Sent, said["reply replied"])
			require.Equal(t, [2]int{}, wrongChecksums(t, m.h1))
		})
	}
}

// udpSent is what the host's sockets have sent, of both families.
func udpSent(t *testing.T, h *lab.Host) string {
	t.Helper()
	return string(tool(t, h, "nstat", "--zeros", "--ignore", "--noupdate", "UdpOutDatagrams", "Udp6OutDatagrams"))
}

// TestPacketsToSockets: checksums that the far host's own stack verifies, and replies that it writes.
func TestPacketsToSockets(t *testing.T) {
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflectOverSockets(t, h2)
	near := (&running{host: h1, datapath: ", mode: tc, interfaces: [eth0]", probing: ", emit: packet"}).begin(t,
		fmt.Sprintf("targets:\n  four: {address: %s}\n  six: {address: \"%s\"}\n", h2.IPv4, h2.IPv6))
	near.writes(t, "four", 3)
	near.writes(t, "six", 3)
	near.stop(t)
	sum := byClock(readLines(t, near.output))["kernel"]
	require.Greater(t, sum.Received, int64(200))
	require.Equal(t, counts{Sent: sum.Sent, Received: sum.Received, NotSent: sum.NotSent}, sum)
	require.Equal(t, [2]int{}, wrongChecksums(t, h2))
}

// TestPacketsWithoutNeighbour: the gateway does not answer for a while, then it does again.
func TestPacketsWithoutNeighbour(t *testing.T) {
	m := measurePackets(t, "tc", "")
	m.near.writes(t, "four", 1)
	port := "p-" + m.h1.Name
	fabric := func(args string) {
		t.Helper()
		out, err := m.Fabric().Command(t.Context(), "ip", strings.Fields(args)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	gateway := netip.MustParseAddr("10.77.1.1")
	fabric("link set " + port + " arp off")
	ip(t, m.h1, "neigh del "+gateway.String()+" dev eth0")
	time.Sleep(1500 * time.Millisecond)
	fabric("link set " + port + " arp on")
	eventually(t, func() bool {
		return strings.Contains(string(tool(t, m.h1, "ip", "neigh", "show", gateway.String())), "REACHABLE")
	}, "the gateway is found again")
	require.Contains(t, string(tool(t, m.h1, "ip", "-details", "neigh", "show", gateway.String())), "managed")
	_, n := pathTo(readLines(t, m.near.output), "four")
	m.near.writes(t, "four", n+3)
	m.near.stop(t)
	lines := readLines(t, m.near.output)
	sum := byClock(lines)["kernel"]
	reasons := reasonsOf(t, m.near)
	t.Logf("%+v %v", sum, reasons)
	require.Greater(t, reasons["no_neighbour"], int64(100), "2 flows for 1.5 s, at the least")
	require.Equal(t, sum.NotSent, reasons["no_neighbour"]+reasons["overrun"])
	require.Equal(t, sum.Sent, sum.Received, "never a guess")
	four, _ := pathTo(lines[len(lines)-8:], "four")
	require.Positive(t, four.Received)
	require.NotContains(t, string(tool(t, m.h1, "ip", "-details", "neigh", "show", gateway.String())), "managed", "given back")
}

// TestPacketsNeighbourComesAtOnce: a deleted entry that somebody answers for is back before much is missed.
func TestPacketsNeighbourComesAtOnce(t *testing.T) {
	m := measurePackets(t, "tc", "")
	m.near.writes(t, "six", 1)
	ip(t, m.h1, "neigh del 10.77.1.1 dev eth0")
	ip(t, m.h1, "neigh del fd77:0:0:1::1 dev eth0")
	m.near.writes(t, "six", 5)
	m.near.stop(t)
	sum := byClock(readLines(t, m.near.output))["kernel"]
	reasons := reasonsOf(t, m.near)
	t.Logf("%+v %v", sum, reasons)
	require.Equal(t, sum.Sent, sum.Received)
	require.Less(t, reasons["no_neighbour"], int64(40))
}

// TestPacketsInterfaceGoesAndComesBack: with routes and addresses.
func TestPacketsInterfaceGoesAndComesBack(t *testing.T) {
	m := measurePackets(t, "tc", "")
	m.near.writes(t, "six", 1)
	require.NoError(t, m.h1.LinkDown())
	time.Sleep(time.Second)
	require.NoError(t, m.h1.LinkUp())
	_, n := pathTo(readLines(t, m.near.output), "six")
	m.near.writes(t, "six", n+4)
	m.near.stop(t)
	lines := readLines(t, m.near.output)
	sum := byClock(lines)["kernel"]
	reasons := reasonsOf(t, m.near)
	t.Logf("%+v %v", sum, reasons)
	require.Greater(t, reasons["no_route"]+reasons["link_down"]+reasons["no_source"]+reasons["no_neighbour"], int64(100))
	require.LessOrEqual(t, sum.Lost, int64(8), "what was under way: %+v", sum)
	for _, dst := range []string{"four", "six"} {
		c, _ := pathTo(lines[len(lines)-6:], dst)
		require.Positive(t, c.Received, dst)
		require.Zero(t, c.NotSent, dst)
	}
}

// TestPacketsWhereTheyCannotBe: sockets do it, and the log says why.
func TestPacketsWhereTheyCannotBe(t *testing.T) {
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	near := (&running{host: h1, datapath: ", mode: socket", probing: ", emit: packet"}).begin(t,
		fmt.Sprintf("targets:\n  four: {address: %s}\n", h2.IPv4))
	near.logs(t, "not as frames")
	near.writes(t, "four", 2)
	near.stop(t)
	four, _ := pathTo(readLines(t, near.output), "four")
	require.Positive(t, four.Received)
	require.Equal(t, four.Sent, four.Received)
}

// TestFramesInAFullQueue: the prober's own qdisc drops what exceeds its rate, by its own count. It is not_sent for
// want of a buffer, and what the fabric's tap saw leave is what was sent.
func TestFramesInAFullQueue(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflect(t, h2)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	near := (&running{host: h1, datapath: ", mode: tc, interfaces: [eth0]", probing: ", emit: packet"}).begin(t, bothTargets(h2))
	near.logs(t, "probes leave as frames")
	near.writes(t, "six", 1)
	queue := fill(t, h1, "64kbit")
	_, n := pathTo(readLines(t, near.output), "six")
	near.writes(t, "six", n+3)
	near.stop(t)
	records, err := tap.Stop()
	require.NoError(t, err)
	sum := pathToBoth(readLines(t, near.output))
	reasons := reasonsOf(t, near)
	t.Logf("%+v %v", sum, reasons)
	require.EqualValues(t, lab.RTTTruth(records, lab.TruthOptions{}).Requests, sum.Sent)
	require.Positive(t, reasons["no_buffer"])
	queue.requireDrops(t, reasons["no_buffer"])
	require.Equal(t, sum.NotSent, reasons["no_buffer"]+reasons["overrun"]+reasons["slowed"], "it may spare its host, too")
	require.Equal(t, sum.Sent, sum.Received+sum.Late)
}
