package probe

import "fmt"

// Counts says how the probes of a window ended. Every probe that was sent ends
// once, so that both identities of [Counts.Check] hold on every line.
type Counts struct {
	Sent        uint64 // left this host
	Received    uint64 // reply within the timeout
	Late        uint64 // reply after the timeout, before the probe was forgotten
	Lost        uint64 // no reply: LostForward + LostReverse + LostUnsplit
	LostForward uint64 // did not reach the reflector, by its own counters
	LostReverse uint64 // the reflector answered, the answer did not arrive
	LostUnsplit uint64 // lost, no counter says where
	Refused     uint64 // reached the reflector, which did not answer (rate limit and the like)
	Unreachable uint64 // an ICMP error quoted the probe
	LocalDrop   uint64 // the reply reached this host and was dropped here

	NotSent   uint64 // was due and did not leave: not part of Sent
	Duplicate uint64 // replies beyond a probe's first
	Reordered uint64 // replies that arrived after the reply to a later probe
	Corrupted uint64 // replies that matched a probe and did not return its content
	HostDrops uint64 // packets this host's interfaces and queues dropped in the window
}

// Add adds o to c, field by field.
func (c *Counts) Add(o *Counts) {
	c.Sent += o.Sent
	c.Received += o.Received
	c.Late += o.Late
	c.Lost += o.Lost
	c.LostForward += o.LostForward
	c.LostReverse += o.LostReverse
	c.LostUnsplit += o.LostUnsplit
	c.Refused += o.Refused
	c.Unreachable += o.Unreachable
	c.LocalDrop += o.LocalDrop
	c.NotSent += o.NotSent
	c.Duplicate += o.Duplicate
	c.Reordered += o.Reordered
	c.Corrupted += o.Corrupted
	c.HostDrops += o.HostDrops
}

// Check returns an error that names the identity that does not hold, if any.
func (c *Counts) Check() error {
	ended := c.Received + c.Late + c.Lost + c.Refused + c.Unreachable + c.LocalDrop
	if c.Sent != ended {
		return fmt.Errorf("sent %d != received %d + late %d + lost %d + refused %d + unreachable %d + local_drop %d",
			c.Sent, c.Received, c.Late, c.Lost, c.Refused, c.Unreachable, c.LocalDrop)
	}
	if c.Lost != c.LostForward+c.LostReverse+c.LostUnsplit {
		return fmt.Errorf("lost %d != lost_forward %d + lost_reverse %d + lost_unsplit %d",
			c.Lost, c.LostForward, c.LostReverse, c.LostUnsplit)
	}
	return nil
}

// LossRatio returns Lost / (Sent - LocalDrop), 0 to 1; ok is false where that
// has no value.
func (c *Counts) LossRatio() (ratio float64, ok bool) {
	if c.Sent <= c.LocalDrop {
		return 0, false
	}
	return float64(c.Lost) / float64(c.Sent-c.LocalDrop), true
}
