//go:build linux

package hostinfo

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestConntrack counts flows in a namespace of its own.
func TestConntrack(t *testing.T) {
	h := lab.ForTest(t, 1).Host(1)
	read := func() (c *Conntrack) {
		require.NoError(t, h.Do(func() error {
			c = ReadConntrack()
			return nil
		}))
		return c
	}
	before := read()
	if before == nil {
		missing(t, "nf_conntrack", net.UnknownNetworkError("no /proc/sys/net/netfilter/nf_conntrack_count"))
	}
	require.Zero(t, before.Count)
	require.Positive(t, before.Max)
	require.Equal(t, 30*time.Second, before.UDPTimeout)

	tool(t, h, "nft", "add table inet t; add chain inet t out { type filter hook output priority 0; }; add rule inet t out ct state new accept")
	const flows, probes = 3, 4
	require.NoError(t, h.Do(func() error {
		for range flows {
			c, err := net.Dial("udp", "10.77.1.1:9")
			if err != nil {
				return err
			}
			defer c.Close()
			for range probes {
				_, _ = c.Write([]byte("probe")) // the port may refuse
			}
		}
		return nil
	}))
	require.Equal(t, flows, read().Count, "one entry a flow, not a probe")
}
