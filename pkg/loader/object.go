//go:build linux

package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// programKind is a place where the reflector can run.
type programKind int

const (
	progXDP        programKind = iota // of the driver
	progXDPGeneric                    // of the stack
	progTC                            // at ingress
	programKinds
)

// kindAt is the program of each step.
var kindAt = map[Step]programKind{StepNative: progXDP, StepTC: progTC, StepGeneric: progXDPGeneric}

// name is the program's name in the BPF object.
func (k programKind) name() string {
	return [programKinds]string{bpfProgLlamaXdp, bpfProgLlamaXdpSkb, bpfProgLlamaTc}[k]
}

// object is the loaded programs and their maps.
type object struct {
	bpfPrograms
	bpfMaps

	exceptionsOnce sync.Once
	exceptions     *exceptions // nil: not to be had

	mu     sync.Mutex // protects the fields below, which several callers write parts of
	lease  bpfLlamaLease
	config bpfLlamaConfig
	proven [programKinds]bool
}

// load loads the programs that the mode may attach and adopts the maps that are pinned
// in the folder pin, which it makes. Maps of another shape it replaces. What is armed
// stays so.
func load(pin string, mode Mode, probes ProbeOptions, log *slog.Logger) (*object, error) {
	if err := pinFolder(pin).prepare(); err != nil {
		return nil, explain(err)
	}
	liftMemlock()
	spec, err := readSpec()
	if err != nil {
		return nil, err
	}
	emptyUnused(spec, mode)
	probes.size(spec)
	if err := dropOtherShapes(pin, spec, log); err != nil {
		return nil, explain(err)
	}
	return newObject(spec, pin)
}

// readSpec is the object as this kernel can have it.
func readSpec() (*ebpf.CollectionSpec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	if err := fit(spec); err != nil {
		return nil, explain(err)
	}
	return spec, nil
}

// liftMemlock lets maps count beyond the limit for locked memory, to which they
// count before Linux 5.11. Without CAP_SYS_RESOURCE it stays, and the kernel says so
// when it matters. The library's own way calls bpf(2) in every program it is linked
// into, which a seccomp filter may punish by death.
func liftMemlock() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

// newObject loads spec as it is. Without a pin folder it has maps of its own.
func newObject(spec *ebpf.CollectionSpec, pin string) (*object, error) {
	o := new(object)
	var loaded struct {
		bpfPrograms
		bpfMaps
	}
	err := spec.LoadAndAssign(&loaded, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: pin}})
	if err != nil {
		return nil, explain(fmt.Errorf("load BPF object: %w", err))
	}
	o.bpfPrograms, o.bpfMaps = loaded.bpfPrograms, loaded.bpfMaps
	err = errors.Join(
		o.LlamaLease.Lookup(uint32(0), &o.lease),
		o.LlamaConfig.Lookup(uint32(0), &o.config),
		o.makeCrowd(),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adopt maps: %w", err), o.Close())
	}
	return o, nil
}

// programs are those of each step that the mode allows; the others may be empty.
func (o *object) programs(mode Mode) (p Programs) {
	for _, s := range mode.steps() {
		switch s {
		case StepNative:
			p.XDP = o.LlamaXdp
		case StepGeneric:
			p.XDPGeneric = o.LlamaXdpSkb
		case StepTC:
			p.TC = o.LlamaTc
		}
	}
	return p
}

// emptyUnused empties the programs that the mode never attaches.
func emptyUnused(spec *ebpf.CollectionSpec, mode Mode) {
	for s, k := range kindAt {
		if !slices.Contains(mode.steps(), s) {
			empty(spec.Programs[k.name()])
		}
	}
}

// empty leaves of a program just a return: to verify one costs a kernel a few hundred milliseconds.
func empty(p *ebpf.ProgramSpec) {
	p.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
}

// program returns the program for a place; it belongs to the object.
func (o *object) program(k programKind) *ebpf.Program {
	switch k {
	case progXDP:
		return o.LlamaXdp
	case progXDPGeneric:
		return o.LlamaXdpSkb
	}
	return o.LlamaTc
}

// Close closes the descriptors. What is pinned stays, and goes on.
func (o *object) Close() error {
	errs := []error{o.bpfPrograms.Close(), o.bpfMaps.Close()}
	if o.exceptions != nil {
		errs = append(errs, o.exceptions.close())
	}
	return errors.Join(errs...)
}

// explain adds to an error of the kernel what can be done about it. What the
// verifier said stays short, unless it is printed with %+v.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) && len(ve.Log) > 1 && mayDoAll() {
			return err
		}
		return fmt.Errorf("%w: needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, before Linux 5.11 CAP_SYS_RESOURCE too, and no seccomp filter on bpf(2): %w", ErrPermission, err)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: needs Linux 5.10 or newer with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT: %w", ErrNotSupported, err)
	}
	return err
}

// mayDoAll tells whether the verifier lets this process do all that it lets anyone:
// without CAP_PERFMON it refuses arithmetic with pointers, as if the program were wrong.
func mayDoAll() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if unix.Capget(&hdr, &caps[0]) != nil {
		return true
	}
	has := func(c int) bool { return caps[c/32].Effective>>(c%32)&1 != 0 }
	return has(unix.CAP_SYS_ADMIN) || has(unix.CAP_PERFMON)
}
