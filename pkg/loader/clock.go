//go:build linux

package loader

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// ClockState is what the programs have to know of the host's clocks.
type ClockState struct {
	WallMinusMono time.Duration // CLOCK_REALTIME - CLOCK_MONOTONIC
	TAIOffset     int32         // seconds that TAI is ahead of UTC; only used with PTP
	Estimate      stamp.ErrorEstimate
	PTP           bool // stamps in PTPv2's format; Estimate has to say the same
}

// setLease lets the programs work until untilMono (ns, CLOCK_MONOTONIC). 0 disarms
// them: they pass everything at once.
func (o *object) setLease(untilMono int64) error {
	return o.updateLease(func(l *bpfLlamaLease) { l.UntilNs = uint64(untilMono) })
}

// setClock says how the programs stamp from now on.
func (o *object) setClock(c ClockState) error {
	e := c.Estimate
	if !e.Valid() { // RFC 4656 forbids it on the wire
		e = stamp.NewErrorEstimate(e.Synchronized(), e.Format(), -1)
	}
	return o.updateLease(func(l *bpfLlamaLease) {
		l.WallOffsetNs = int64(c.WallMinusMono)
		l.TaiOffsetS = c.TAIOffset
		l.ErrorEstimate = be16(uint16(e))
		l.Ptp = 0
		if c.PTP {
			l.Ptp = 1
		}
	})
}

func (o *object) updateLease(change func(*bpfLlamaLease)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lease
	change(&l)
	if err := o.LlamaLease.Update(uint32(0), &l, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	o.lease = l
	return nil
}

// be16 is v as it lies in memory in network order.
func be16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
