package probe

// Captured is a reply that the kernel took on its arrival, with the stamps of the
// probe that it answers.
type Captured struct {
	Row    uint32 // the flow's, as it was given when the flow was added
	T1, T4 int64  // CLOCK_MONOTONIC, ns
	TTL    uint8  // TTL or hop limit as received
	TOS    uint8  // DSCP << 2 | ECN as received
	Reply  []byte // the packet up to the end of the TLVs that probes have; valid until the call returns
}

// Fate is what the kernel knows of a probe that no reply was captured for.
type Fate uint8

// The values of Fate.
const (
	FateNotSeen   Fate = iota // it never came to the interface
	FateSent                  // it left
	FateEventLost             // a reply came and was dropped here, for want of room
)
