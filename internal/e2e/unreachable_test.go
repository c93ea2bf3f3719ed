//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestNoReflectorIsUnreachable: the far host answers with port unreachable. The path works, so nothing is lost.
func TestNoReflectorIsUnreachable(t *testing.T) {
	t.Parallel()
	eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
		l := lab.ForTest(t, 2)
		r, status := ping(t, l.Host(1), load(2, 10, 50*time.Millisecond, "--mode", mode, target(l.Host(2).Addr(six)))...)
		require.Equal(t, 1, status)
		require.Equal(t, counts{Sent: 20 - r.Overrun, Unreachable: 20 - r.Overrun}, r.counts)
		require.Nil(t, r.RTT)
	})
}

// TestRefusalsOnTheWayAreUnreachable has the fabric answer with each ICMP error, for every third probe: the
// socket error that comes with it must not keep the next probe from leaving.
func TestRefusalsOnTheWayAreUnreachable(t *testing.T) {
	for _, c := range []struct {
		name string
		why  lab.Unreachable
	}{
		{"no route", lab.NoRoute},
		{"host", lab.HostUnreachable},
		{"port", lab.PortUnreachable},
		{"prohibited", lab.AdminProhibited},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachModeAndFamily(t, func(t *testing.T, mode string, six bool) {
				l := lab.ForTest(t, 2)
				lab.Require(t, lab.Nftables)
				h1, h2 := l.Host(1), l.Host(2)
				reflect(t, h2)
				fault, err := l.Fabric().Reject(lab.Rule{From: h1, To: h2, DstPort: lab.DefaultReflectorPort, Every: 3}, c.why)
				require.NoError(t, err)
				r, status := ping(t, h1, load(1, 30, 30*time.Millisecond, "--mode", mode, target(h2.Addr(six)))...)
				require.Equal(t, 1, status, "a probe without a reply")
				refused := hits(t, fault)
				require.Equal(t, r.Sent/3, refused)
				require.Equal(t, counts{Sent: 30 - r.Overrun, Received: r.Sent - refused, Unreachable: refused}, r.counts)
			})
		})
	}
}
