package sock

import (
	"time"

	"golang.org/x/sys/unix"
)

// ClockQuality is what the kernel knows of CLOCK_REALTIME (adjtimex(2)).
type ClockQuality struct {
	Synchronized bool  // something keeps it so
	MaxError     int64 // ns; -1 if unknown
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
	const timeError, staUnsync = 5, 0x40
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return ClockQuality{MaxError: -1}
	}
	return ClockQuality{
		Synchronized: state != timeError && t.Status&staUnsync == 0, MaxError: int64(t.Maxerror) * 1000, TAIOffset: t.Tai,
	}
}
