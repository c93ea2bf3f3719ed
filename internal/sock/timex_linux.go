package sock

import (
	"time"

	"golang.org/x/sys/unix"
)

// ClockQuality is what the kernel knows of CLOCK_REALTIME (adjtimex(2)).
type ClockQuality struct {
	Synchronized bool  // something keeps it so
	MaxError     int64 // ns; -1 if unknown
	EstError     int64 // ns, the likely error by what keeps the clock; -1 if unknown
	Offset       int64 // ns, what the kernel has still to make good of what it was told; 0 where nobody lets it
	TAIOffset    int32 // seconds that TAI is ahead of UTC; 0 if the kernel was not told
}

// Stated is q with what the operator says of the clock, which the kernel may not
// know of: that it is synchronised within d. A d of 0 says nothing.
func (q ClockQuality) Stated(d time.Duration) ClockQuality {
	if d > 0 {
		q.Synchronized, q.MaxError = true, int64(d)
	}
	return q
}

// ReadClockQuality asks the kernel.
func ReadClockQuality() ClockQuality {
	const timeError, staUnsync, staNano = 5, 0x40, 0x2000
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return ClockQuality{MaxError: -1, EstError: -1}
	}
	offset := int64(t.Offset)
	if t.Status&staNano == 0 {
		offset *= 1000
	}
	return ClockQuality{
		Synchronized: state != timeError && t.Status&staUnsync == 0, MaxError: int64(t.Maxerror) * 1000,
		EstError: int64(t.Esterror) * 1000, Offset: offset, TAIOffset: t.Tai,
	}
}
