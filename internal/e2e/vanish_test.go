//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// passes counts the probes that the fabric has from one host to the other, and their replies.
func passes(t *testing.T, l *lab.Lab, from, to *lab.Host) (there, back *lab.Fault) {
	t.Helper()
	lab.Require(t, lab.Nftables)
	there, err := l.Fabric().Count(lab.Rule{From: from, To: to, DstPort: lab.DefaultReflectorPort})
	require.NoError(t, err)
	back, err = l.Fabric().Count(lab.Rule{From: to, To: from, SrcPort: lab.DefaultReflectorPort})
	require.NoError(t, err)
	return there, back
}

// TestRouteVanishes, and comes back. What the fabric counted is what was sent, and it answered all. Meanwhile the agent
// looks its targets up anew, and finds no way to them; those of the other route do not feel it.
func TestRouteVanishes(t *testing.T) {
	t.Parallel()
	eachEmission(t, emissions[:3], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 3)
		h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
		reflect(t, h2)
		reflect(t, h3)
		routes := []string{"10.77.2.0/24 via 10.77.1.1", "fd77:0:0:2::/64 via fd77:0:0:1::1"}
		for _, r := range append([]string{"10.77.3.0/24 via 10.77.1.1", "fd77:0:0:3::/64 via fd77:0:0:1::1"}, routes...) {
			ip(t, h1, "route add "+r)
		}
		ip(t, h1, "-4 route del default")
		ip(t, h1, "-6 route del default")
		there, back := passes(t, l, h1, h2)
		near := e.begin(t, l, h1, "", bothTargets(h2)+fmt.Sprintf("  beside: {address: %s}\n  beside6: {address: \"%s\"}\n", h3.IPv4, h3.IPv6))
		near.writes(t, "six", 1)
		for _, r := range routes {
			ip(t, h1, "route del "+r)
		}
		near.signal(t, syscall.SIGHUP)
		near.logs(t, "configuration loaded")
		near.says(t, "collector_not_sent_no_route", 100)
		for _, r := range routes {
			ip(t, h1, "route add "+r)
		}
		_, n := pathTo(readLines(t, near.output), "six")
		near.writes(t, "six", n+4)
		near.stop(t)

		lines := readLines(t, near.output)
		sum, reasons := pathToBoth(lines), reasonsOf(t, near)
		t.Logf("%+v %v", sum, reasons)
		require.Equal(t, hits(t, there), sum.Sent)
		require.Equal(t, hits(t, back), sum.Received+sum.Late)
		requireAllBack(t, &sum)
		for _, dst := range []string{"beside", "beside6"} {
			c, _ := pathTo(lines, dst)
			requireAllBack(t, &c)
			require.LessOrEqual(t, c.NotSent, reasons["overrun"], dst)
			sum.NotSent += c.NotSent
		}
		require.Equal(t, sum.NotSent, reasons["no_route"]+reasons["overrun"])
		require.Len(t, byClock(lines), 1, "as before")
		for _, dst := range []string{"four", "six"} {
			c, _ := pathTo(lines[len(lines)-10:], dst)
			require.Positive(t, c.Received, dst)
		}
	})
}

// TestSourceVanishes, the address that probes have to leave from, and comes back. None leaves meanwhile, from no address.
func TestSourceVanishes(t *testing.T) {
	t.Parallel()
	eachEmission(t, emissions[:3], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflect(t, h2)
		sources := []string{"10.77.1.50", "fd77:0:0:1::50"}
		change := func(verb string) {
			t.Helper()
			for i, bits := range []string{"/24", "/64"} {
				ip(t, h1, "addr "+verb+" "+sources[i]+bits+" dev eth0")
			}
		}
		change("add")
		tap, err := l.Fabric().Tap(h1)
		require.NoError(t, err)
		there, back := passes(t, l, h1, h2)
		e.probing += `, source: ["` + strings.Join(sources, `", "`) + `"]`
		near := e.begin(t, l, h1, "", bothTargets(h2))
		near.writes(t, "six", 1)
		change("del")
		near.says(t, "collector_not_sent_no_source", 100)
		change("add")
		_, n := pathTo(readLines(t, near.output), "six")
		near.writes(t, "six", n+3)
		near.stop(t)
		records, err := tap.Stop()
		require.NoError(t, err)
		for _, r := range records {
			if r.Direction == lab.FromHost {
				require.Contains(t, sources, r.Src.Addr().String())
			}
		}
		lines := readLines(t, near.output)
		sum, reasons := pathToBoth(lines), reasonsOf(t, near)
		t.Logf("%+v %v", sum, reasons)
		require.Equal(t, hits(t, there), sum.Sent)
		require.Equal(t, hits(t, back), sum.Sent, "the fabric lost nothing")
		require.LessOrEqual(t, sum.Sent-sum.Received-sum.Late, int64(20), "what came just after the address was gone: %+v", sum)
		require.Equal(t, sum.NotSent, reasons["no_source"]+reasons["no_route"]+reasons["no_neighbour"]+reasons["overrun"])
		for _, dst := range []string{"four", "six"} {
			c, _ := pathTo(lines[len(lines)-6:], dst)
			require.Positive(t, c.Received, dst)
		}
	})
}

// TestInterfaceRenamed while probes leave by it: they are measured on, and reported, under its new name. Where the
// configuration names the old one, the log says so.
func TestInterfaceRenamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		emission
		named bool
	}{{emissions[1], true}, {emissions[2], false}, {emissions[3], true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := lab.ForTest(t, 2)
			h1, h2 := l.Host(1), l.Host(2)
			reflect(t, h2)
			there, back := passes(t, l, h1, h2)
			if c.mode == "native" {
				require.NoError(t, l.Fabric().PassXDP(h1))
			}
			near := &running{host: h1, datapath: ", mode: " + c.mode, probing: c.probing}
			if c.named {
				near.datapath += ", interfaces: [eth0]"
			}
			near.begin(t, bothTargets(h2))
			near.says(t, "interface_eth0_step", 0)
			near.writes(t, "six", 1)
			links := bpfLinks(t, h1, near.pin)
			ip(t, h1, "link set dev eth0 name uplink") // while it is up: Linux 6.2
			near.says(t, "interface_uplink_step", 0)
			_, n := pathTo(readLines(t, near.output), "six")
			near.writes(t, "six", n+3)
			require.NotContains(t, near.own(t), "interface_eth0_step")
			require.Equal(t, links, bpfLinks(t, h1, near.pin), "nothing was taken off")
			require.Equal(t, c.named, strings.Contains(near.log.String(), "interface has another name now"))
			near.stop(t)
			lines := readLines(t, near.output)
			sum := byClock(lines)["kernel"]
			t.Logf("%+v", sum)
			require.Len(t, byClock(lines), 1)
			require.Equal(t, hits(t, there), sum.Sent)
			require.Equal(t, hits(t, back), sum.Received+sum.Late)
			requireAllBack(t, &sum)
			require.Equal(t, sum.Received+sum.Late, last(t, lines)["kernel_captured"], "all of them in the kernel")
			require.NoDirExists(t, near.pin)
		})
	}
}
