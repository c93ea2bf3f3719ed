//go:build linux

package collector

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/llama-agent/llama-agent/internal/frame"
	"github.com/llama-agent/llama-agent/internal/lab"
)

// Frames confirm no neighbour. The kernel is asked to do it by itself, or again and again where it cannot (before Linux
// 5.16, which ignores that it is asked for more): one that is gone is not sent to, and one that is back is.
func TestNeighboursAreConfirmed(t *testing.T) {
	for name, keep := range map[string]int{"by the kernel": netlink.NTF_EXT_MANAGED, "again and again": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.ForTest(t, 1)
			h := l.Host(1)
			gateways := []string{"10.77.1.1", "fd77:0:0:1::1"}
			ip := func(in commander, args string) {
				t.Helper()
				out, err := in.Command(t.Context(), "ip", strings.Fields(args)...).CombinedOutput()
				require.NoError(t, err, "%s", out)
			}
			for _, gateway := range gateways { // the lab's entries are permanent
				ip(h, "neigh del "+gateway+" dev eth0")
			}
			n := newNextHops(func(int) bool { return true }, nil, "", func() {}, slog.New(slog.DiscardHandler))
			n.keep = keep
			t.Cleanup(n.close)
			hops := map[bool]*nextHop{}
			require.NoError(t, h.Do(func() error {
				for six, dst := range map[bool]string{false: "10.77.9.2", true: "fd77:0:0:9::2"} {
					if err := doubtSoon(six); err != nil {
						return err
					}
					hops[six] = n.of(netip.MustParseAddr(dst))
				}
				return nil
			}))
			become := func(what string, is func(*hop) bool) {
				t.Helper()
				require.Eventually(t, func() bool {
					n.confirm() // as it is called every second
					n.refresh()
					return is(hops[false].now.Load()) && is(hops[true].now.Load())
				}, time.Minute, 100*time.Millisecond, what)
			}
			there := func(h *hop) bool { return !h.blocked && h.dstMAC != frame.MAC{} }
			become("found", there)
			ip(l.Fabric(), "addr flush dev "+l.Fabric().Port(h))
			become("gone", func(h *hop) bool { return h.blocked && h.blockReason == reasonNoNeighbour })
			for _, gateway := range gateways {
				ip(l.Fabric(), "addr add "+gateway+"/24 nodad dev "+l.Fabric().Port(h))
			}
			become("found again", there)
			for key, s := range n.neighbours {
				t.Logf("%s: %+v", key.addr, *s)
				require.False(t, s.managed && keep == 0)
			}
		})
	}
}

// commander is a host of the lab, or its fabric.
type commander interface {
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// doubtSoon has the host doubt a neighbour of its interface after a second, not half a minute.
func doubtSoon(six bool) error {
	family := map[bool]string{false: "ipv4", true: "ipv6"}[six]
	for name, value := range map[string]int{"base_reachable_time_ms": 1000, "delay_first_probe_time": 1, "retrans_time_ms": 200} {
		path := fmt.Sprintf("/proc/sys/net/%s/neigh/eth0/%s", family, name)
		if err := os.WriteFile(path, fmt.Append(nil, value), 0o600); err != nil {
			return err
		}
	}
	return nil
}
