package main

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A drop takes packets of an interface off, by native XDP at the earliest place there is, or
// by TC, and counts. If it takes every packet, it is the ceiling of whatever answers.
type drop struct {
	program *ebpf.Program
	count   *ebpf.Map
	link    link.Link
}

// matching goes on to what follows it with our requests (IPv4 without options or fragments,
// UDP, our port), and passes everything else: the least that a program can look at which
// must not drop what is not for it.
func matching() asm.Instructions {
	const eth, ip, udp = 0, 14, 34
	load := func(off int16, size asm.Size) asm.Instruction { return asm.LoadMem(asm.R4, asm.R2, off, size) }
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, 2),                   // XDP_PASS
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, udp+8),
		asm.JGT.Reg(asm.R4, asm.R3, "exit"),
		load(eth+12, asm.Half), asm.JNE.Imm(asm.R4, int32(network16(unix.ETH_P_IP)), "exit"),
		load(ip, asm.Byte), asm.JNE.Imm(asm.R4, 0x45, "exit"),
		load(ip+9, asm.Byte), asm.JNE.Imm(asm.R4, unix.IPPROTO_UDP, "exit"),
		load(ip+6, asm.Half), asm.And.Imm(asm.R4, int32(network16(0x3fff))), asm.JNE.Imm(asm.R4, 0, "exit"),
		load(udp+2, asm.Half), asm.JNE.Imm(asm.R4, int32(network16(stampPort)), "exit"),
	}
}

// network16 is how a number in network order reads in this machine's.
func network16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// attachDrop puts it on the interface of this thread's namespace. What first does not
// jump to "exit" is dropped.
func attachDrop(ifindex int, by ebpf.ProgramType, first asm.Instructions) (_ *drop, err error) {
	verdict := int32(1) // XDP_DROP
	if by == ebpf.SchedCLS {
		verdict = 2 // TC_ACT_SHOT
	}
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
	d.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bench_drop", Type: by, License: "GPL", Instructions: append(first,
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, d.count.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord), // a CPU's own, in softirq
		asm.Mov.Imm(asm.R0, verdict).WithSymbol("out"),
		asm.Return().WithSymbol("exit"),
	)})
	if err != nil {
		return nil, fmt.Errorf("load drop program: %w", err)
	}
	if by == ebpf.SchedCLS {
		d.link, err = link.AttachTCX(link.TCXOptions{Program: d.program, Interface: ifindex, Attach: ebpf.AttachTCXIngress})
	} else {
		d.link, err = link.AttachXDP(link.XDPOptions{Program: d.program, Interface: ifindex, Flags: link.XDPDriverMode})
	}
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
