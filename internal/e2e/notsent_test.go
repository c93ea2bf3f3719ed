//go:build linux

package e2e

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestOwnFirewallIsNotLoss: the prober's own host refuses one class. The other is measured untouched.
func TestOwnFirewallIsNotLoss(t *testing.T) {
	t.Parallel()
	for _, verdict := range []string{"drop", "reject"} {
		t.Run(verdict, func(t *testing.T) {
			t.Parallel()
			eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
				l := lab.ForTest(t, 2)
				h1, h2 := l.Host(1), l.Host(2)
				reflect(t, h2)
				match := map[bool]string{false: "ip dscp ef", true: "ip6 dscp ef"}[six]
				nft(t, h1, "add table inet e2e; add chain inet e2e out { type filter hook output priority 0; }; "+
					"add rule inet e2e out "+match+" "+verdict)
				p := startPing(t, h1, load(2, 25, 20*time.Millisecond, "--mode", mode, "--dscp", "be,ef", target(h2.Addr(six)))...)
				results, status := p.wait(t)
				require.Equal(t, 1, status)
				require.Len(t, results, 2)
				require.Equal(t, "be", results[0].Class, "in the order of the command line")
				require.Equal(t, results[0].allReceived(50), results[0].counts)
				require.Equal(t, results[1].allNotSent(50), results[1].counts)
				require.Equal(t, map[string]int64{"filtered": results[1].NotSent}, results[1].Reasons)
			})
		})
	}
}

// TestNoRouteIsNotSent: the host has no route, or one that says no.
func TestNoRouteIsNotSent(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"none":        "route del default",
		"unreachable": "route add unreachable 10.77.2.0/24",
	} {
		t.Run(name, func(t *testing.T) {
			l := lab.ForTest(t, 2)
			h1, h2 := l.Host(1), l.Host(2)
			reflect(t, h2)
			ip(t, h1, change)
			r, status := ping(t, h1, load(2, 10, 20*time.Millisecond, target(h2.IPv4))...)
			require.Equal(t, 1, status)
			require.Equal(t, r.allNotSent(20), r.counts)
			require.Equal(t, map[string]int64{"no_route": r.NotSent}, r.Reasons)
		})
	}
	t.Run("none, IPv6", func(t *testing.T) {
		l := lab.ForTest(t, 2)
		ip(t, l.Host(1), "-6 route del default")
		r, status := ping(t, l.Host(1), load(2, 10, 20*time.Millisecond, target(l.Host(2).IPv6))...)
		require.Equal(t, 1, status)
		require.Equal(t, r.allNotSent(20), r.counts)
		require.Equal(t, map[string]int64{"no_route": r.NotSent}, r.Reasons)
	})
}

const (
	outageInterval = 20 * time.Millisecond
	outageLeast    = time.Second
)

// outage takes something down 700 ms after the start and up again a second later. It returns how long that may
// have hit probes: both take their time on a busy machine.
func outage(t *testing.T, down, up func() error) (most time.Duration) {
	t.Helper()
	time.Sleep(700 * time.Millisecond)
	begun := time.Now()
	require.NoError(t, down())
	time.Sleep(outageLeast)
	require.NoError(t, up())
	return time.Since(begun)
}

// requireOutage holds the number of probes of four flows that an outage hit against its length. Some that it
// would have hit may not have been sent for want of CPU.
func requireOutage(t *testing.T, hit, overrun int64, most time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, hit+overrun, int64(4*outageLeast/outageInterval)-20)
	require.LessOrEqual(t, hit, int64(4*most/outageInterval)+20)
}

// TestInterfaceGoesAndComesBack: probes that were due while it was down were not sent, those after it are
// measured as before it.
func TestInterfaceGoesAndComesBack(t *testing.T) {
	t.Parallel()
	eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		p := startPing(t, h1, load(4, 250, outageInterval, "--mode", mode, target(h2.Addr(six)))...)
		most := outage(t, h1.LinkDown, h1.LinkUp)
		results, _ := p.wait(t)
		r := results[0]
		t.Logf("%+v %v", r.counts, r.Reasons)
		require.EqualValues(t, 1000, r.due())
		requireOutage(t, r.NotSent, r.Overrun, most)
		require.Equal(t, r.NotSent, r.Reasons["no_route"]+r.Reasons["link_down"]+r.Reasons["never_left"])
		require.GreaterOrEqual(t, r.Received, r.Sent-2, "at most what was under way")
		for _, f := range r.Flows {
			require.Greater(t, f.Received, int64(40), "flow %d goes on", f.SrcPort)
		}
	})
}

// TestAddressChanges renumbers the prober amid the run: probes go on from the new address.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		before := h1.Addr(six)
		after := netip.MustParseAddr(map[bool]string{false: "10.77.1.77", true: "fd77:0:0:1::77"}[six])
		p := startPing(t, h1, load(2, 150, 20*time.Millisecond, "--mode", mode, target(h2.Addr(six)))...)
		time.Sleep(700 * time.Millisecond)
		if six {
			require.NoError(t, h1.SetIPv6(after))
		} else {
			require.NoError(t, h1.SetIPv4(after))
		}
		results, _ := p.wait(t)
		records, err := tap.Stop()
		require.NoError(t, err)
		r := results[0]
		t.Logf("%+v %v", r.counts, r.Reasons)
		from := map[netip.Addr]int{}
		for _, x := range records {
			// Without a global address a probe may leave from the link-local one, which no router lets pass.
			if x.Direction == lab.FromHost && !x.Src.Addr().IsLinkLocalUnicast() {
				from[x.Src.Addr()]++
			}
		}
		require.Len(t, from, 2)
		require.Greater(t, from[before], 20)
		require.Greater(t, from[after], 20)
		require.EqualValues(t, 300, r.due())
		answered := r.Received
		if six {
			answered += r.Unreachable // from the link-local one
		}
		require.GreaterOrEqual(t, answered, r.Sent-2, "at most what was under way")
		require.Zero(t, r.LostForward+r.LostReverse+r.Refused, "the reflector's new session proves nothing")
	})
}

// TestSourceAddressGone: probes that have to leave from an address that the host no longer has.
func TestSourceAddressGone(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		p := startPing(t, h1, load(2, 150, 20*time.Millisecond, "--source", h1.IPv4.String(), "--mode", mode, target(h2.IPv4))...)
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, h1.SetIPv4(netip.MustParseAddr("10.77.1.77")))
		results, status := p.wait(t)
		r := results[0]
		require.Zero(t, status, "what was sent came back")
		require.EqualValues(t, 300, r.due())
		require.Greater(t, r.NotSent, int64(20))
		require.GreaterOrEqual(t, r.Received, r.Sent-2)
	})
}

// TestNoNeighbourIsNeverLoss: an address of the host's own prefix that nobody has. The probes never left.
func TestNoNeighbourIsNeverLoss(t *testing.T) {
	t.Parallel()
	eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
		l := lab.ForTest(t, 2)
		nobody := netip.MustParseAddr(map[bool]string{false: "10.77.1.99", true: "fd77:0:0:1::99"}[six])
		r, status := ping(t, l.Host(1), load(1, 20, 300*time.Millisecond, "--mode", mode, target(nobody))...)
		t.Logf("%+v %v", r.counts, r.Reasons)
		require.Equal(t, 1, status)
		require.Zero(t, r.Received)
		require.Zero(t, r.Lost, "nothing left this host")
		require.EqualValues(t, 20, r.due())
	})
}

// TestCarrierGoesAndComesBack cuts the prober's cable. Once the kernel has noticed, probes are refused or not
// transmitted; until then the device drops them, which the line says too: host_drops make it no evidence.
func TestCarrierGoesAndComesBack(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		p := startPing(t, h1, load(4, 250, outageInterval, "--mode", mode, target(h2.IPv4))...)
		most := outage(t, func() error { return l.Fabric().LinkDown(h1) }, func() error { return l.Fabric().LinkUp(h1) })
		results, status := p.wait(t)
		r := results[0]
		t.Logf("exit %d: %+v %v, host drops %d", status, r.counts, r.Reasons, r.HostDrops)
		require.EqualValues(t, 1000, r.due())
		requireOutage(t, r.NotSent+r.Lost, r.Overrun, most)
		require.Equal(t, r.Sent, r.Received+r.Lost)
		require.LessOrEqual(t, r.Lost, r.HostDrops)
		require.Less(t, r.Lost, r.NotSent, "most of it is told from the network's loss")
		require.LessOrEqual(t, r.LostReverse, int64(1), "a reply that is on its way when the carrier goes")
		for _, f := range r.Flows {
			require.Greater(t, f.Received, int64(40), "flow %d goes on", f.SrcPort)
		}
	})
}

// TestFarCarrierGoesAndComesBack cuts the target's cable: what is due meanwhile is lost on the way there, or
// the fabric says that it is unreachable.
func TestFarCarrierGoesAndComesBack(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		p := startPing(t, h1, load(4, 250, outageInterval, "--mode", mode, target(h2.IPv4))...)
		most := outage(t, func() error { return l.Fabric().LinkDown(h2) }, func() error { return l.Fabric().LinkUp(h2) })
		results, status := p.wait(t)
		r := results[0]
		require.Equal(t, 1, status)
		require.EqualValues(t, 1000, r.due())
		requireOutage(t, r.LostForward+r.LostUnsplit+r.Unreachable, r.Overrun, most)
		require.Zero(t, r.LostReverse)
		require.LessOrEqual(t, r.Refused, int64(4), "what the reflector had received and could not answer")
		for _, f := range r.Flows {
			require.Greater(t, f.Received, int64(40), "flow %d goes on", f.SrcPort)
		}
	})
}

// TestFullQueueIsNotLoss: the prober's own qdisc drops what exceeds its rate. The kernel says so for each probe, and
// its count of drops is what was not sent.
func TestFullQueueIsNotLoss(t *testing.T) {
	t.Parallel()
	eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		queue := fill(t, h1, "32kbit")
		r, _ := ping(t, h1, load(8, 60, 20*time.Millisecond, "--mode", mode, target(h2.Addr(six)))...)
		t.Logf("%+v %v", r.counts, r.Reasons)
		require.EqualValues(t, 480, r.due())
		require.Positive(t, r.NotSent)
		require.Equal(t, map[string]int64{"no_buffer": r.NotSent}, r.Reasons)
		queue.requireDrops(t, r.NotSent)
		require.Positive(t, r.Received)
		require.Equal(t, r.Sent, r.Received+r.Late)
	})
}

// fullQueue is a queue of a host's own interface with less rate than its probes have.
type fullQueue struct{ host *lab.Host }

func fill(t *testing.T, h *lab.Host, rate string) fullQueue {
	t.Helper()
	// Reports of IPv6 group membership, which the kernel sends when it likes, are not to come into the queue.
	tool(t, h, "nft", "add table inet e2e; add chain inet e2e out { type filter hook output priority 0; }; add rule inet e2e out meta l4proto ipv6-icmp drop")
	tool(t, h, "tc", strings.Fields("qdisc add dev eth0 root tbf rate "+rate+" burst 1600 limit 3000")...)
	return fullQueue{h}
}

// requireDrops holds the queue's own count against what was not sent.
func (q fullQueue) requireDrops(t *testing.T, probes int64) {
	t.Helper()
	var queues []struct{ Drops int64 }
	require.NoError(t, json.Unmarshal(tool(t, q.host, "tc", "-s", "-json", "qdisc", "show", "dev", "eth0"), &queues))
	require.Len(t, queues, 1)
	require.Equal(t, queues[0].Drops, probes)
}
