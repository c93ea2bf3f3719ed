package stamp

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestErrorEstimateBits(t *testing.T) {
	e := ErrorEstimate(0b1_0_100001_00000011)
	require.True(t, e.Synchronized())
	require.Equal(t, NTP, e.Format())
	require.Equal(t, uint8(33), e.Scale())
	require.Equal(t, uint8(3), e.Multiplier())
	require.Equal(t, int64(6*second), e.Nanos(), "3 * 2^33 / 2^32 s")
	z := ErrorEstimate(0b0_1_000000_00000001)
	require.False(t, z.Synchronized())
	require.Equal(t, PTPv2, z.Format())
	require.Equal(t, int64(1), z.Nanos(), "0.23 ns, rounded up")
}

func TestErrorEstimateKnownValues(t *testing.T) {
	for _, c := range []struct {
		name string
		sync bool
		f    Format
		ns   int64
		want ErrorEstimate
	}{
		{"zero-is-the-smallest", false, NTP, 0, 0x0001},
		{"one-ns", true, NTP, 1, 0x8005},                   // 4.29 units
		{"one-us", true, PTPv2, 1000, 0xc000 | 5<<8 | 135}, // 4294.97/32 = 134.2
		{"one-second", false, NTP, second, 25<<8 | 128},
		{"unknown", false, NTP, -1, 63<<8 | 255},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, NewErrorEstimate(c.sync, c.f, c.ns))
		})
	}
	require.Equal(t, int64(math.MaxInt64), NewErrorEstimate(false, NTP, -1).Nanos())
	require.GreaterOrEqual(t, NewErrorEstimate(false, NTP, math.MaxInt64).Nanos(), int64(maxErrNs))
}

func TestErrorEstimateRoundsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.Int64Range(0, maxErrNs).Draw(t, "ns")
		e := NewErrorEstimate(true, NTP, ns)
		require.True(t, e.Valid(), "the multiplier is never 0")
		require.GreaterOrEqual(t, e.Nanos(), ns, "never better than it is")
		require.LessOrEqual(t, float64(e.Nanos()), float64(ns)*1.01+1, "no worse than 1 %% and 1 ns")
	})
}

// Nanos against exact arithmetic, for every value that there is.
func TestErrorEstimateNanosExact(t *testing.T) {
	for raw := 0; raw < 1<<14; raw++ {
		e := ErrorEstimate(raw)
		v := new(big.Int).Lsh(big.NewInt(int64(e.Multiplier())*second), uint(e.Scale()))
		v.Add(v, big.NewInt(1<<32-1)).Rsh(v, 32)
		want := int64(math.MaxInt64)
		if v.IsInt64() {
			want = v.Int64()
		}
		require.Equal(t, want, e.Nanos(), "%#x", raw)
	}
}

func TestErrorEstimateZeroMultiplierIsInvalid(t *testing.T) {
	require.False(t, ErrorEstimate(0x8a00).Valid())
	require.True(t, ErrorEstimate(0x8a01).Valid())
	require.Equal(t, ErrorEstimate(0xc000|63<<8|255), ErrorEstimate(0xc000).orUnknown())
	require.Equal(t, ErrorEstimate(0x8a01), ErrorEstimate(0x8a01).orUnknown())
}
