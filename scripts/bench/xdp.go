package main

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// A drop takes every packet of an interface off at the earliest place there is
// (native XDP_DROP), and counts: the ceiling of whatever answers.
type drop struct {
	program *ebpf.Program
	count   *ebpf.Map
	link    link.Link
}

// attachDrop puts it on the interface of this thread's namespace.
func attachDrop(ifindex int) (_ *drop, err error) {
	d := new(drop)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	d.count, err = ebpf.NewMap(&ebpf.MapSpec{Name: "bench_drops", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	d.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bench_drop", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, d.count.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord), // a CPU's own, in softirq
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"),   // XDP_DROP
		asm.Return(),
	}})
	if err != nil {
		return nil, fmt.Errorf("load drop program: %w", err)
	}
	d.link, err = link.AttachXDP(link.XDPOptions{Program: d.program, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attach drop program: %w", err)
	}
	return d, nil
}

// counted is how many packets it has dropped.
func (d *drop) counted() (sum uint64, err error) {
	var cpus []uint64
	if err := d.count.Lookup(uint32(0), &cpus); err != nil {
		return 0, fmt.Errorf("read counter: %w", err)
	}
	for _, n := range cpus {
		sum += n
	}
	return sum, nil
}

func (d *drop) close() {
	if d.link != nil {
		_ = d.link.Close() // the namespace goes with the bench
	}
	if d.program != nil {
		_ = d.program.Close()
	}
	if d.count != nil {
		_ = d.count.Close()
	}
}
