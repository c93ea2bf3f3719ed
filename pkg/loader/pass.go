//go:build linux

package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

const xdpPass = 2

// passProgram is what stands in for ours on an interface that must keep a program, because taking it off would
// reset the link.
func passProgram() (*ebpf.Program, error) {
	spec := &ebpf.ProgramSpec{
		Name: "llama_pass", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "Apache-2.0",
		Flags:        unix.BPF_F_XDP_HAS_FRAGS, // or a large MTU refuses it
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		spec.Flags = 0 // before kernel 5.18
		p, err = ebpf.NewProgram(spec)
	}
	if err != nil {
		return nil, fmt.Errorf("load the program that passes everything: %w", err)
	}
	return p, nil
}
