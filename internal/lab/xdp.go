//go:build linux

package lab

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PassXDP gives the fabric's port to the host a native XDP program that passes everything. Without one, what a
// host's native XDP transmits stays in the veth's ring; a real cable asks for nothing like it. It goes with the lab.
func (f *Fabric) PassXDP(h *Host) error {
	const xdpPass = 2
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lab_pass", Type: ebpf.XDP, License: "GPL",
		Flags:        unix.BPF_F_XDP_HAS_FRAGS, // or a large MTU refuses it; Linux 5.18
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load XDP_PASS: %w", err)
	}
	port, err := f.ns.nl.LinkByName(h.port)
	if err == nil {
		err = f.ns.do(func() error { return netlink.LinkSetXdpFdWithFlags(port, program.FD(), unix.XDP_FLAGS_DRV_MODE) })
	}
	if err = errors.Join(err, program.Close()); err != nil {
		return fmt.Errorf("attach XDP_PASS to %s: %w", h.port, err)
	}
	return nil
}
