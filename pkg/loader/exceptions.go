//go:build linux

package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// exceptionKey is one of our programs at one interface. The tracepoint is the whole host's, where an index may be
// that of several interfaces, each in its namespace; the program is attached in ours alone.
type exceptionKey struct{ Program, Ifindex uint32 }

// exceptions counts the packets with which a driver could not do what our program wanted, where the driver raises
// the tracepoint then: in the sources of some (driverTable) nothing else tells. Of drivers, only veth's was tried.
type exceptions struct {
	counts  *ebpf.Map // exceptionKey to packets; only what is watched
	program *ebpf.Program
	link    link.Link
}

// openExceptions needs tracefs.
func openExceptions() (_ *exceptions, err error) {
	x := new(exceptions)
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	x.counts, err = ebpf.NewMap(&ebpf.MapSpec{Name: "llama_xdperr", Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 256})
	if err != nil {
		return nil, fmt.Errorf("make map of XDP exceptions: %w", err)
	}
	program, ifindex, err := exceptionFields()
	if err != nil {
		return nil, err
	}
	x.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "llama_xdperr", Type: ebpf.TracePoint, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, program, asm.Word),
			asm.StoreMem(asm.RFP, -8, asm.R2, asm.Word),
			asm.LoadMem(asm.R2, asm.R1, ifindex, asm.Word),
			asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -8),
			asm.LoadMapPtr(asm.R1, x.counts.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0), // several queues, several CPUs
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("load counter of XDP exceptions: %w", err)
	}
	x.link, err = link.Tracepoint("xdp", "xdp_exception", x.program, nil)
	if err != nil {
		return nil, fmt.Errorf("attach to tracepoint xdp_exception: %w", err)
	}
	return x, nil
}

// exceptionFields is where this kernel's tracepoint has the program's id and the interface's index.
func exceptionFields() (program, ifindex int16, err error) {
	var text []byte
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if text, err = os.ReadFile(dir + "/events/xdp/xdp_exception/format"); err == nil {
			break
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read format of tracepoint xdp_exception: %w", err)
	}
	if program, err = fieldOffset(string(text), "prog_id"); err == nil {
		ifindex, err = fieldOffset(string(text), "ifindex")
	}
	return program, ifindex, err
}

// fieldOffset finds a field of 4 octets in a tracepoint's format, which has lines like
//
//	field:int prog_id;	offset:8;	size:4;	signed:1;
func fieldOffset(format, name string) (int16, error) {
	for line := range strings.Lines(format) {
		declared, where, _ := strings.Cut(strings.TrimSpace(line), ";")
		if !strings.HasPrefix(declared, "field:") || !strings.HasSuffix(declared, " "+name) {
			continue
		}
		var offset int16
		var size int
		if _, err := fmt.Sscanf(strings.TrimSpace(where), "offset:%d; size:%d;", &offset, &size); err != nil || size != 4 {
			return 0, fmt.Errorf("field %s of the tracepoint is not as expected: %q", name, strings.TrimSpace(line))
		}
		return offset, nil
	}
	return 0, fmt.Errorf("tracepoint has no field %s", name)
}

// count is how many there were since it was first asked for.
func (x *exceptions) count(p *ebpf.Program, ifindex int) (n uint64, err error) {
	key := exceptionKey{uint32(programID(p)), uint32(ifindex)}
	err = x.counts.Lookup(key, &n)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = x.counts.Update(key, n, ebpf.UpdateNoExist)
		if errors.Is(err, unix.E2BIG) { // no room: nothing is ever known of it
			return 0, nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("count XDP exceptions of interface %d: %w", ifindex, err)
	}
	return n, nil
}

// exceptionsAt is how many there were at an interface with the native program. Without the tracepoint it knows of none,
// and says so once.
func (o *object) exceptionsAt(ifindex int, log *slog.Logger) (uint64, error) {
	o.exceptionsOnce.Do(func() {
		var err error
		if o.exceptions, err = openExceptions(); err != nil {
			log.Info("XDP exceptions are not counted: with a driver without statistics of XDP_TX, less speaks against native XDP", "error", err)
		}
	})
	if o.exceptions == nil {
		return 0, nil
	}
	return o.exceptions.count(o.LlamaXdp, ifindex)
}

func (x *exceptions) close() error {
	var errs []error
	if x.link != nil {
		errs = append(errs, x.link.Close())
	}
	if x.program != nil {
		errs = append(errs, x.program.Close())
	}
	if x.counts != nil {
		errs = append(errs, x.counts.Close())
	}
	return errors.Join(errs...)
}
