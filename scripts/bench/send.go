package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// sendingAlone is what no prober is above that sends so: nothing but sendmmsg, in C
// (c/send.c), to a reflector at that step over the cable. Replies are dropped where they come in, at that step too.
func (b *bench) sendingAlone(m *sweep, mode string, frames bool) error {
	reflector, err := b.startManyPorts(mode, sweepTargets)
	if err != nil {
		return err
	}
	defer reflector.stop()
	by, first := ebpf.XDP, internet()
	if mode == "tc" {
		by, first = ebpf.SchedCLS, internetTC()
	}
	d, err := b.attachDrop(b.place.near, b.place.link, by, first)
	if err != nil {
		return err
	}
	defer d.close()
	from, err := hardwareAddr(b.place.near, b.place.link)
	if err != nil {
		return err
	}
	next, err := hardwareAddr(b.place.far, b.place.link)
	if err != nil {
		return err
	}
	kind, who := "udp", "C, sendmmsg alone, "+mode
	if frames {
		kind, who = "packet", who+", frames"
	}
	before, err := d.counted()
	if err != nil {
		return err
	}
	out, _, err := b.output(b.place.near, measuredCore, b.bin.send, kind, b.place.near.IPv4.String(), b.place.far.IPv4.String(),
		strconv.Itoa(kernelPort), strconv.Itoa(sweepTargets), strconv.Itoa(sweepPorts), seconds(b.scale.sweep), b.place.link, from, next)
	if err != nil {
		return err
	}
	var sent, cpu float64
	if _, err := fmt.Sscan(out, &sent, &cpu); err != nil || sent == 0 {
		return fmt.Errorf("read send: %q: %w", out, err)
	}
	after, err := d.counted()
	if err != nil {
		return err
	}
	if back := float64(after-before) / sent; back < 0.99 {
		b.table.note("%s: of what was sent, %.0f %% was answered.", who, 100*back)
	}
	m.perCore.add(who, sent/cpu)
	return reflector.alive()
}

// internet goes on to what follows it with IPv4, and passes the rest: neighbours have to be found.
func internet() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, 2),                   // XDP_PASS
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "exit"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R4, int32(network16(unix.ETH_P_IP)), "exit"),
	}
}

// internetTC is the same for a program at TC.
func internetTC() asm.Instructions {
	const protocol = 16 // in struct __sk_buff
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, -1), // TC_ACT_UNSPEC
		asm.LoadMem(asm.R2, asm.R1, protocol, asm.Word),
		asm.JNE.Imm(asm.R2, int32(network16(unix.ETH_P_IP)), "exit"),
	}
}

func hardwareAddr(ns interface{ Do(func() error) error }, name string) (mac string, err error) {
	err = ns.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			mac = i.HardwareAddr.String()
		}
		return err
	})
	return mac, err
}
