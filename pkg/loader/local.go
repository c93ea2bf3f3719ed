//go:build linux

package loader

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Flags of llama_local, and of an interface in llama_iface (bpf/shared.h).
const (
	localUnicast   = 1
	localBroadcast = 2
	ifaceLoopback  = 1
)

// sessionUp is a flag of a session in llama_peer and llama_guest (bpf/shared.h).
const sessionUp = 1

// slotEventLost is a flag of a probe in llama_slot.
const slotEventLost = 2

const maxMACs = len(bpfLlamaIface{}.Macs)

// setLocal says which addresses are this host's, and replaces the ones before.
// broadcast are those of its subnets, from which no request can come.
func (o *object) setLocal(addrs []netip.Addr, broadcast ...netip.Addr) error {
	want := make(map[bpfLlamaAddr]uint32)
	for _, a := range broadcast {
		want[addr16(a)] = localBroadcast
	}
	for _, a := range addrs {
		want[addr16(a)] = localUnicast
	}
	if err := replace(o.LlamaLocal, want, nil); err != nil {
		return fmt.Errorf("write local addresses: %w", err)
	}
	return o.renew()
}

func addr16(a netip.Addr) bpfLlamaAddr { return bpfLlamaAddr{Octets: a.As16()} }

// setInterface says by which hardware addresses this host is reached at an
// interface: its own, and those of the devices above it.
func (o *object) setInterface(ifindex int, macs []net.HardwareAddr, loopback bool) error {
	v := bpfLlamaIface{Nmacs: uint32(len(macs))}
	if len(macs) > maxMACs {
		return fmt.Errorf("interface %d: %d hardware addresses, at most %d", ifindex, len(macs), maxMACs)
	}
	for i, mac := range macs {
		if copy(v.Macs[i].Octets[:], mac) != len(mac) || len(mac) != len(v.Macs[i].Octets) {
			return fmt.Errorf("interface %d: hardware address %q is not of Ethernet", ifindex, mac)
		}
	}
	if loopback {
		v.Flags = ifaceLoopback
	}
	slot, err := o.slot(ifindex)
	if err != nil {
		return err
	}
	v.Slot = slot
	if err := o.LlamaIface.Update(uint32(ifindex), &v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("write interface %d: %w", ifindex, err)
	}
	return o.renew()
}

// slot is where the interface's counters are. A new one starts from zero.
func (o *object) slot(ifindex int) (uint32, error) {
	have, err := entries[uint32, bpfLlamaIface](o.LlamaIface)
	if err != nil {
		return 0, fmt.Errorf("read interfaces: %w", err)
	}
	if v, ok := have[uint32(ifindex)]; ok {
		return v.Slot, nil
	}
	used := make(map[uint32]bool)
	for _, v := range have {
		used[v.Slot] = true
	}
	for slot := range o.LlamaIfstat.MaxEntries() {
		if used[slot] {
			continue
		}
		zero := make([]bpfLlamaIfstat, ebpf.MustPossibleCPU())
		if err := o.LlamaIfstat.Update(slot, zero, ebpf.UpdateAny); err != nil {
			return 0, fmt.Errorf("clear counters of interface %d: %w", ifindex, err)
		}
		return slot, nil
	}
	return 0, fmt.Errorf("interface %d: there are %d interfaces already", ifindex, len(have))
}

// removeInterface forgets an interface and its counters: what comes there passes.
func (o *object) removeInterface(ifindex int) error {
	if err := o.LlamaIface.Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove interface %d: %w", ifindex, err)
	}
	return o.renew()
}
