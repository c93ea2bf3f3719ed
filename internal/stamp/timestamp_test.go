package stamp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.Unix()*second + int64(t.Nanosecond())
}

func TestTimestampKnownValues(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		when   string
		want   Timestamp
	}{
		{"ntp-unix-epoch", NTP, "1970-01-01T00:00:00Z", 2_208_988_800 << 32},
		{"ntp-half-second", NTP, "1970-01-01T00:00:00.5Z", 2_208_988_800<<32 | 1<<31},
		{"ntp-quarter-2026", NTP, "2026-01-01T00:00:00.25Z", (1767225600+2208988800)<<32 | 1<<30},
		{"ntp-one-ns", NTP, "1970-01-01T00:00:00.000000001Z", 2_208_988_800<<32 | 4},
		{"ntp-last-ns", NTP, "1970-01-01T00:00:00.999999999Z", 2_208_988_800<<32 | 4294967292},
		{"ntp-prime-epoch", NTP, "1900-01-01T00:00:00Z", 0},
		{"ntp-era-1", NTP, "2036-02-07T06:28:16Z", 0},
		{"ptp-unix-epoch", PTPv2, "1970-01-01T00:00:00Z", 0},
		{"ptp-2026", PTPv2, "2026-01-01T00:00:00.25Z", 1767225600<<32 | 250_000_000},
		{"ptp-wrap", PTPv2, "2106-02-07T06:28:16.000000009Z", 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := at(c.when)
			require.Equal(t, c.want, c.format.FromUnixNano(ns))
			require.Equal(t, ns, c.format.UnixNano(c.want, ns))
		})
	}
}

// Either side of a wrap, and each side read with a clock on the other side.
func TestTimestampEra(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		wrap   string
	}{
		{"ntp-2036", NTP, "2036-02-07T06:28:16Z"},
		{"ntp-2172", NTP, "2172-03-15T12:56:32Z"},
		{"ptp-2106", PTPv2, "2106-02-07T06:28:16Z"},
		{"ptp-2106-as-ntp", NTP, "2106-02-07T06:28:16Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrap := at(c.wrap)
			const day = 86400 * second
			for _, d := range []int64{-60 * 365 * day, -day, -second, -1, 0, 1, second, day, 60 * 365 * day} {
				ts := c.format.FromUnixNano(wrap + d)
				for _, near := range []int64{wrap + d, wrap - 1, wrap, wrap + 1, wrap - 5*365*day, wrap + 5*365*day} {
					require.Equal(t, wrap+d, c.format.UnixNano(ts, near), "%d near %d", d, near-wrap)
				}
			}
		})
	}
}

func TestTimestampRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.Int64Range(at("1900-01-01T00:00:00Z"), at("2200-01-01T00:00:00Z")).Draw(t, "ns")
		off := rapid.Int64Range(-60*365*86400*second, 60*365*86400*second).Draw(t, "off")
		f := Format(rapid.IntRange(0, 1).Draw(t, "format"))
		require.Equal(t, ns, f.UnixNano(f.FromUnixNano(ns), ns+off))
	})
}

// Any NTP value, also one that is no whole nanosecond, reads within 1 ns.
func TestTimestampNTPFraction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.Uint64().Draw(t, "raw")
		near := at("2026-01-01T00:00:00Z")
		back := NTP.FromUnixNano(NTP.UnixNano(Timestamp(raw), near))
		require.LessOrEqual(t, max(int64(raw-uint64(back)), int64(uint64(back)-raw)), int64(3))
	})
}

func TestTimestampPTPNanosInvalid(t *testing.T) {
	require.True(t, PTPv2.ValidTimestamp(7<<32|999_999_999))
	require.False(t, PTPv2.ValidTimestamp(7<<32|1_000_000_000))
	require.True(t, NTP.ValidTimestamp(7<<32|0xffffffff))
}

func TestClockTAIOffset(t *testing.T) {
	ns := at("2026-01-01T00:00:00.000000001Z")
	tai := Clock{Format: PTPv2, TAIOffset: 37}
	require.Equal(t, Timestamp((1767225600+37)<<32|1), tai.FromUnixNano(ns))
	require.Equal(t, ns, tai.UnixNano(tai.FromUnixNano(ns), ns))
	require.Equal(t, PTPv2.FromUnixNano(ns), Clock{Format: PTPv2}.FromUnixNano(ns), "no offset known: UTC")
	ntp := Clock{TAIOffset: 37}
	require.Equal(t, NTP.FromUnixNano(ns), ntp.FromUnixNano(ns), "NTP is UTC whatever the offset")
	require.Equal(t, ns, ntp.UnixNano(NTP.FromUnixNano(ns), ns))
}

func TestFormatDefaultIsNTP(t *testing.T) {
	var c Clock
	require.Equal(t, NTP, c.Format)
	require.Equal(t, NTP, ErrorEstimate(0).Format())
	require.Equal(t, "ntp", NTP.String())
	require.Equal(t, "ptp", PTPv2.String())
}
