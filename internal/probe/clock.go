package probe

// Clock names where the two stamps of an RTT came from. Series of different
// clocks never mix.
type Clock string

// The values of Clock.
const (
	ClockKernel Clock = "kernel" // T1 at TC egress, T4 at XDP or TC ingress
	ClockSocket Clock = "socket" // T1 and T4 from SO_TIMESTAMPING, software
	ClockUser   Clock = "user"   // T1 read in user space just before the send, T4 from SO_TIMESTAMPING
	ClockMixed  Clock = "mixed"  // counts only, no RTT
)
