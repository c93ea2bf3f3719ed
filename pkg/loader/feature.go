//go:build linux

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// fit makes spec fit the kernel, by what it can do and never by its version.
func fit(spec *ebpf.CollectionSpec) error {
	frags, err := haveFrags()
	if err != nil {
		return fmt.Errorf("probe xdp fragments: %w", err)
	}
	if err := spec.Variables[bpfVarLlamaFrags].Set(frags); err != nil {
		return fmt.Errorf("set variable: %w", err)
	}
	if !frags {
		for _, p := range spec.Programs {
			p.Flags &^= unix.BPF_F_XDP_HAS_FRAGS
		}
	}
	return nil
}

// haveFrags tells whether XDP programs may see buffers of several fragments, and
// the helper that tells their length is there (5.18).
func haveFrags() (bool, error) {
	err := features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "llama_probe", Type: ebpf.XDP, License: "Dual BSD/GPL", Flags: unix.BPF_F_XDP_HAS_FRAGS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, p.Close()
}
