package collector

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// asOf makes a reply that of a reflector whose clock is ahead, with stamps of that
// format and that error estimate.
func asOf(ahead time.Duration, format stamp.Format, e stamp.ErrorEstimate) func([]byte) []byte {
	return func(b []byte) []byte {
		for _, at := range []int{4, 16} {
			ns := stamp.NTP.UnixNano(stamp.Timestamp(binary.BigEndian.Uint64(b[at:])), time.Now().UnixNano())
			binary.BigEndian.PutUint64(b[at:], uint64(format.FromUnixNano(ns+int64(ahead))))
		}
		binary.BigEndian.PutUint16(b[12:], uint16(e))
		return b
	}
}

func TestOneWayDelays(t *testing.T) {
	const own = 30 * time.Microsecond
	good := stamp.NewErrorEstimate(true, stamp.NTP, 20_000)
	for name, c := range map[string]struct {
		ahead   time.Duration
		format  stamp.Format
		e       stamp.ErrorEstimate
		own     time.Duration
		off     bool
		unknown bool
	}{
		"clocks agree":              {e: good, own: own},
		"reflector is ahead":        {ahead: 50 * time.Millisecond, e: good, own: own},
		"reflector is behind":       {ahead: -50 * time.Millisecond, e: good, own: own},
		"reflector not synced":      {e: stamp.NewErrorEstimate(false, stamp.NTP, 20_000), own: own, unknown: true},
		"reflector's error unknown": {e: stamp.NewErrorEstimate(true, stamp.NTP, -1), own: own, unknown: true},
		"we are not synced":         {e: good, unknown: !sock.ReadClockQuality().Synchronized},
		"PTP, TAI or UTC":           {format: stamp.PTPv2, e: stamp.NewErrorEstimate(true, stamp.PTPv2, 20_000), own: own, unknown: true},
		"not asked for":             {e: good, own: own, off: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) { p.edit = asOf(c.ahead, c.format, c.e) })
			o := testOptions(target("t", p.addr()))
			o.Count, o.OneWay, o.ClockError = 5, !c.off, c.own
			w, col := measure(t, o)
			got := onePath(t, w)
			require.EqualValues(t, 20, got.Received)
			require.EqualValues(t, 20, got.RTT.Count(), "an RTT needs no clocks that agree")
			if c.off || c.unknown {
				require.Nil(t, got.OneWay)
				require.EqualValues(t, map[bool]int{true: 0, false: 20}[c.off], col.Stats()["one_way_unknown"])
				return
			}
			require.NotNil(t, got.OneWay)
			require.EqualValues(t, 20, got.OneWay.Forward.Count())
			require.EqualValues(t, 20, got.OneWay.Reverse.Count())
			forward, _ := got.OneWay.Forward.Quantile(0.5)
			reverse, _ := got.OneWay.Reverse.Quantile(0.5)
			most := float64(20 * time.Millisecond)
			require.Greater(t, forward, float64(c.ahead))
			require.Less(t, forward, float64(c.ahead)+most)
			require.Greater(t, reverse, -float64(c.ahead))
			require.Less(t, reverse, -float64(c.ahead)+most)
			if c.own != 0 {
				require.InDelta(t, 50_000, got.OneWay.Error, 1000, "the sum of both errors, each rounded up")
			}
		})
	}
}
