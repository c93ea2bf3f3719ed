//go:build linux

package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Ending is how packets ended: why, and what was done with them.
type Ending struct{ Reason, Action string }

// Counters are packets by how they ended, since the maps were made; those that
// never happened are left out.
type Counters map[Ending]uint64

// InterfaceCounters are the packets that came by an interface to a reflector's
// port. Seen is the sum of the others.
type InterfaceCounters struct{ Seen, Answered, PassedUp, Dropped uint64 }

// counters adds up what the CPUs have counted.
func (o *object) counters() (Counters, error) { return countersOf(o.LlamaReason) }

func countersOf(m *ebpf.Map) (Counters, error) {
	c := make(Counters)
	for r, reason := range reasonNames {
		for a, action := range actionNames {
			var cpus []uint64
			if err := m.Lookup(uint32(r*len(actionNames)+a), &cpus); err != nil {
				return nil, fmt.Errorf("read counter %s: %w", reason, err)
			}
			var sum uint64
			for _, n := range cpus {
				sum += n
			}
			if sum > 0 {
				c[Ending{reason, action}] = sum
			}
		}
	}
	return c, nil
}

// interfaceCounters adds up what the CPUs have counted at an interface.
func (o *object) interfaceCounters(ifindex int) (InterfaceCounters, error) {
	var iface bpfLlamaIface
	cpus := make([]bpfLlamaIfstat, ebpf.MustPossibleCPU())
	err := o.LlamaIface.Lookup(uint32(ifindex), &iface)
	if err == nil {
		err = o.LlamaIfstat.Lookup(iface.Slot, &cpus)
	}
	if err != nil {
		return InterfaceCounters{}, fmt.Errorf("read counters of interface %d: %w", ifindex, err)
	}
	return addCounters(cpus), nil
}

func addCounters(cpus []bpfLlamaIfstat) (c InterfaceCounters) {
	for i := range cpus {
		c.Seen += cpus[i].Seen
		c.Answered += cpus[i].Answered
		c.PassedUp += cpus[i].PassedUp
		c.Dropped += cpus[i].Dropped
	}
	return c
}
