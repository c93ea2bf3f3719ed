package stamp

import "math/bits"

// Format is the format of a timestamp on the wire, the Z bit of the Error
// Estimate (RFC 8762, 4.2.1; RFC 8186, 2.3).
type Format uint8

const (
	// NTP is the 64-bit format of RFC 5905, seconds since 1900 in 32.32
	// fixed point: the default.
	NTP Format = 0
	// PTPv2 is the truncated IEEE 1588v2 format: 32 bits of seconds since
	// 1970 and 32 bits of nanoseconds.
	PTPv2 Format = 1
)

// String names the format as the configuration does.
func (f Format) String() string {
	if f == PTPv2 {
		return "ptp"
	}
	return "ntp"
}

// Timestamp is the raw 64-bit value on the wire; what it means depends on the
// Format. Zero means that there is none.
type Timestamp uint64

const (
	second       = 1_000_000_000
	ntpUnixDelta = 2_208_988_800 // seconds from 1900-01-01 to 1970-01-01
)

// FromUnixNano encodes an instant, in nanoseconds since 1970. Only the era is
// lost: both formats keep 32 bits of seconds. NTP's fraction is finer than a
// nanosecond (0.23 ns), so the round trip is exact in both formats.
//
// The scale of the instant is kept as it is given: see Clock for PTP's TAI.
func (f Format) FromUnixNano(ns int64) Timestamp {
	sec, frac := floorDiv(ns)
	if f == PTPv2 {
		return Timestamp(uint64(uint32(sec))<<32 | frac)
	}
	// Rounded to nearest; frac < 1e9 so that neither step can overflow.
	frac = (frac<<32 + second/2) / second
	return Timestamp(uint64(uint32(sec+ntpUnixDelta))<<32 | frac)
}

// UnixNano decodes ts to nanoseconds since 1970. The 32 bits of seconds wrap
// (NTP next on 2036-02-07, PTP on 2106-02-07), so of all instants that ts may
// stand for it answers the one nearest to near, which is right for any clock
// that is less than 68 years off.
func (f Format) UnixNano(ts Timestamp, near int64) int64 {
	nearSec, _ := floorDiv(near)
	sec, frac := uint32(ts>>32), uint64(uint32(ts))
	ref := uint32(nearSec)
	if f == NTP {
		ref = uint32(nearSec + ntpUnixDelta)
		frac = (frac*second + 1<<31) >> 32
	}
	return (nearSec+int64(int32(sec-ref)))*second + int64(frac)
}

// ValidTimestamp tells whether ts can be of format f: PTP has no more than a
// second's nanoseconds in its lower half.
func (f Format) ValidTimestamp(ts Timestamp) bool {
	return f == NTP || uint32(ts) < second
}

// Clock is how one side writes its timestamps.
//
// PTP's timescale is TAI, while a host's CLOCK_REALTIME is UTC. With PTPv2
// the stamp is UTC plus TAIOffset. Its zero value leaves the stamp on UTC,
// which is what a host whose kernel has not been told the offset (adjtimex
// says tai=0) can truthfully write. No offset is ever inferred from the Z bit.
// Differences of two stamps of one clock, T3-T2 above all, do not depend on it.
type Clock struct {
	Format    Format
	TAIOffset int32 // seconds that TAI is ahead of UTC (37 since 2017); PTPv2 only
}

// FromUnixNano encodes a UTC instant on this clock's timescale.
func (c Clock) FromUnixNano(ns int64) Timestamp {
	return c.Format.FromUnixNano(ns + c.offset())
}

// UnixNano decodes ts to a UTC instant: the one nearest to near.
func (c Clock) UnixNano(ts Timestamp, near int64) int64 {
	return c.Format.UnixNano(ts, near+c.offset()) - c.offset()
}

func (c Clock) offset() int64 {
	if c.Format == PTPv2 {
		return int64(c.TAIOffset) * second
	}
	return 0
}

// floorDiv splits nanoseconds into whole seconds, rounded down, and the rest.
func floorDiv(ns int64) (sec int64, rest uint64) {
	sec = ns / second
	r := ns % second
	if r < 0 {
		sec--
		r += second
	}
	return sec, uint64(r)
}

// mulDivCeil is ceil(x*2^32/1e9): nanoseconds to units of 2^-32 s.
// x must be below 2^61, or the division overflows.
func mulDivCeil(x uint64) uint64 {
	hi, lo := x>>32, x<<32
	q, r := bits.Div64(hi, lo, second)
	if r != 0 {
		q++
	}
	return q
}
