package sock

import "golang.org/x/sys/unix"

// ClockError returns what the kernel knows of CLOCK_REALTIME (adjtimex): whether
// something keeps it synchronised, and its maximum error in ns.
func ClockError() (synchronized bool, errNs int64) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const timeError, staUnsync = 5, 0x40
	if err != nil {
		return false, 0
	}
	return state != timeError && t.Status&staUnsync == 0, int64(t.Maxerror) * 1000
}
