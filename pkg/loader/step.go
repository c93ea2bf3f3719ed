//go:build linux

package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Step is a rung of the ladder: where the programs of one interface run.
type Step uint8

// The steps, best first.
const (
	StepNative Step = iota + 1
	StepTC
	StepGeneric
	StepSocket
)

func (s Step) String() string {
	switch s {
	case StepNative:
		return "native"
	case StepTC:
		return "tc"
	case StepGeneric:
		return "generic"
	case StepSocket:
		return "socket"
	}
	return fmt.Sprintf("step(%d)", uint8(s))
}

// Mode is what was asked for: the ladder, or one step and nothing else.
type Mode uint8

// The modes.
const (
	ModeAuto Mode = iota
	ModeNative
	ModeTC
	ModeGeneric
	ModeSocket
)

func (m Mode) String() string {
	if m == ModeAuto {
		return "auto"
	}
	return Step(m).String()
}

// ParseMode reads a mode as it is written in the configuration and in flags.
func ParseMode(s string) (Mode, error) {
	for m := ModeAuto; m <= ModeSocket; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q is none of auto, native, tc, generic, socket", s)
}

// steps are those that the mode allows, in the order in which they are tried.
func (m Mode) steps() []Step {
	if m == ModeAuto {
		return []Step{StepNative, StepTC, StepGeneric, StepSocket}
	}
	return []Step{Step(m)}
}

// StepReason says in one sentence why a step was not taken or was left, and what would mend it.
type StepReason struct {
	Step Step
	Why  string
}

// Programs are what runs at each step. One that is nil makes its step impossible.
type Programs struct {
	XDP, XDPGeneric, TC *ebpf.Program
}

func (p Programs) at(s Step) *ebpf.Program {
	switch s {
	case StepNative:
		return p.XDP
	case StepTC:
		return p.TC
	case StepGeneric:
		return p.XDPGeneric
	}
	return nil
}
