package collector

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

func TestNothingLostOnLoopback(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, listen, nil)
			w, c := measure(t, testOptions(target("t", p.addr())))
			got := onePath(t, w)
			require.Equal(t, probe.Counts{Sent: 40, Received: 40}, got.Counts)
			require.Equal(t, probe.ClockSocket, got.Clock)
			require.EqualValues(t, 40, got.RTT.Count())
			require.Equal(t, probe.Some(5), got.HopsForward)
			require.Equal(t, probe.Some(46), got.DSCPForward)
			require.EqualValues(t, 40, c.Stats()["tx_stamps"])
			s, _ := got.RTT.Summary()
			require.Less(t, s.P50, 1e6)
			require.Positive(t, s.Min)
		})
	}
}
