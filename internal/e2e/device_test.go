//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// secondUplink lays a cable from the first host to the second one's addresses, which the routing table would
// take only without the fabric. Packets have the first one's addresses on eth0: answers go back through the fabric.
func secondUplink(t *testing.T, l *lab.Lab, h1, h2 *lab.Host) {
	t.Helper()
	cable, err := l.Cable(h1, h2)
	require.NoError(t, err)
	ip(t, h2, "addr add fd77:0:0:ff::2/64 dev eth1 nodad")
	ip(t, h1, "addr add fd77:0:0:ff::1/64 dev eth1 nodad")
	ip(t, h1, fmt.Sprintf("route add 10.77.2.0/24 via %s dev eth1 metric 5000 src %s", cable.B, h1.IPv4))
	ip(t, h1, fmt.Sprintf("route add fd77:0:0:2::/64 via fd77:0:0:ff::2 dev eth1 metric 5000 src %s", h1.IPv6))
}

// TestDevice: probes leave by the uplink that is named, against the routing table, and their answers come back by the other.
// Without it nothing leaves; once it is there again, as another interface, they leave by that.
func TestDevice(t *testing.T) {
	t.Parallel()
	eachEmission(t, emissions[:3], func(t *testing.T, e emission) {
		t.Parallel()
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		reflectOverSockets(t, h2) // whose answers leave by their route
		there, back := passes(t, l, h1, h2)
		ip(t, h1, "route add 10.77.2.0/24 via 10.77.1.1")
		ip(t, h1, "route add fd77:0:0:2::/64 via fd77:0:0:1::1 metric 100")
		secondUplink(t, l, h1, h2)
		near := (&running{host: h1, datapath: ", mode: " + e.mode, probing: e.probing + ", device: eth1"}).begin(t, bothTargets(h2))
		clock := map[string]string{"socket": "socket", "tc": "kernel"}[e.mode]
		measured := func() {
			t.Helper()
			_, before := pathTo(readLines(t, near.output), "six")
			near.writes(t, "six", before+3) // whose probes were sent since
			eventually(t, func() bool {
				lines := readLines(t, near.output)
				lines = lines[max(0, len(lines)-6):] // two windows
				four, _ := pathTo(lines, "four")
				six, _ := pathTo(lines, "six")
				sum := byClock(lines)
				return len(sum) == 1 && sum[clock].Received > 0 && four.Received > 0 && six.Received > 0
			}, "measured by eth1")
		}
		measured()
		ip(t, h1, "link del eth1")
		near.says(t, "collector_not_sent_link_down", 200)
		secondUplink(t, l, h1, h2)
		measured()
		near.stop(t)

		sum, reasons := pathToBoth(readLines(t, near.output)), reasonsOf(t, near)
		t.Logf("%+v %v", sum, reasons)
		require.Zero(t, hits(t, there), "none by the fabric")
		require.Less(t, reasons["link_down"]+reasons["no_route"], int64(3000), "15 s of probes: unless told, it looks half a minute after its start")
		require.Equal(t, hits(t, back), sum.Received+sum.Late, "all answers by the fabric")
		require.LessOrEqual(t, sum.Sent-sum.Received-sum.Late, int64(4), "what was on the cable as it went")
		require.Equal(t, sum.NotSent, reasons["link_down"]+reasons["no_route"]+reasons["no_neighbour"]+reasons["never_left"]+reasons["overrun"])
	})
}

// TestPingByADevice, against the routing table too, to a reflector that answers there alone; there is no ping by a device
// that does not exist.
func TestPingByADevice(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	there, _ := passes(t, l, h1, h2)
	ip(t, h1, "route add 10.77.2.0/24 via 10.77.1.1")
	ip(t, h1, "route add fd77:0:0:2::/64 via fd77:0:0:1::1 metric 100")
	secondUplink(t, l, h1, h2)
	ip(t, h2, "route add 10.77.1.0/24 via 10.77.0.1 dev eth1 metric 5000")
	ip(t, h2, "route add fd77:0:0:1::/64 via fd77:0:0:ff::1 dev eth1 metric 5000")
	run(t, h2, "reflector: {device: eth1}\n")
	for _, mode := range []string{"socket", "tc"} {
		for _, six := range []bool{false, true} {
			r, status := ping(t, h1, load(2, 10, 20*time.Millisecond, "--mode", mode, "--device", "eth1", target(h2.Addr(six)))...)
			require.Zero(t, status, "%+v", r.counts)
			require.Positive(t, r.Received)
		}
	}
	require.Zero(t, hits(t, there))
	for _, six := range []bool{false, true} {
		r, status := ping(t, h1, load(2, 5, 20*time.Millisecond, target(h2.Addr(six)))...)
		require.Equal(t, 1, status)
		require.Zero(t, r.Received, "%+v", r.counts)
	}
	require.Positive(t, hits(t, there))
	out, err := command(t.Context(), h1, "ping", "--device", "eth9", "--count", "1", h2.IPv4.String()).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `--device "eth9": there is no such interface`)
}
