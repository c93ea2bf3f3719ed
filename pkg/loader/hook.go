//go:build linux

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hook is one program at one place of one interface.
type hook interface {
	// update replaces the program in place.
	update(*ebpf.Program) error
	// program is the id of the one that is there.
	program() ebpf.ProgramID
	// lost is nil as long as our program is where it was put.
	lost() error
	// detach takes it off, with its pin.
	detach() error
	// leave gives back what the process holds. What is pinned stays where it is.
	leave() error
	// flavor says by which means it is attached: xdp-link, tcx, clsact.
	flavor() string
}

// linkHook is a program that a bpf_link holds: XDP or tcx.
type linkHook struct {
	link    link.Link
	pin     string // its file in the folder; empty if it is not pinned
	ifindex int
	ifname  string
	step    Step
}

// hookOf says what a link is attached to: its interface, and the step that it is on. It is an error if that is no
// interface of this namespace, or if another program runs there.
func hookOf(l link.Link) (*linkHook, error) {
	info, err := l.Info()
	if err != nil {
		return nil, err
	}
	h := &linkHook{link: l}
	switch info.Type {
	case link.XDPType:
		h.ifindex = int(info.XDP().Ifindex)
	case link.TCXType:
		h.ifindex, h.step = int(info.TCX().Ifindex), StepTC
	default:
		return nil, fmt.Errorf("a link of type %d is none of ours: %w", info.Type, ErrLost)
	}
	if h.ifindex == 0 {
		return nil, fmt.Errorf("its interface is gone: %w", ErrLost)
	}
	ifc, err := interfaceByIndex(h.ifindex)
	if err != nil {
		return nil, errors.Join(err, ErrLost)
	}
	h.ifname = ifc.Name
	if h.step == 0 {
		st, err := readXDP(h.ifindex)
		if err != nil {
			return nil, err
		}
		if h.step = st.step(info.Program); h.step == 0 {
			return nil, fmt.Errorf("program %d is not on %s: %w", info.Program, ifc.Name, ErrLost)
		}
	}
	return h, h.lost()
}

func (h *linkHook) update(p *ebpf.Program) error {
	if err := h.link.Update(p); err != nil {
		return fmt.Errorf("replace program on %s: %w", h.ifname, err)
	}
	return nil
}

func (h *linkHook) program() ebpf.ProgramID {
	info, err := h.link.Info()
	if err != nil {
		return 0
	}
	return info.Program
}

// lost asks both sides: the link may say where it is attached while the interface has another program, which is so
// when the interface of that index is one of another namespace.
func (h *linkHook) lost() error {
	info, err := h.link.Info()
	if err != nil {
		return err
	}
	if h.step == StepTC {
		if int(info.TCX().Ifindex) != h.ifindex {
			return fmt.Errorf("link on %s was detached: %w", h.ifname, ErrLost)
		}
		place, err := tcxPlace(h.ifindex, info.ID)
		if err == nil && place < 0 {
			err = fmt.Errorf("link is not among those on %s: %w", h.ifname, ErrLost)
		}
		return err
	}
	if int(info.XDP().Ifindex) != h.ifindex {
		return fmt.Errorf("link on %s was detached: %w", h.ifname, ErrLost)
	}
	st, err := readXDP(h.ifindex)
	if err != nil {
		return err
	}
	if st.at(h.step) != info.Program {
		return fmt.Errorf("%s XDP on %s is program %d, not ours: %w", h.step, h.ifname, st.at(h.step), ErrLost)
	}
	return nil
}

func (h *linkHook) detach() error {
	err := h.link.Detach()
	if errors.Is(err, unix.ENOLINK) {
		err = nil // with its interface
	}
	if err != nil {
		err = fmt.Errorf("detach from %s: %w", h.ifname, err)
	}
	return errors.Join(err, h.link.Unpin(), h.link.Close())
}

func (h *linkHook) leave() error { return h.link.Close() }

func (h *linkHook) flavor() string {
	if h.step == StepTC {
		return "tcx"
	}
	return "xdp-link"
}

// keep pins the link: an agent that dies then takes nothing off the interface.
func (h *linkHook) keep(f pinFolder) error {
	if f == "" {
		return nil
	}
	h.pin = linkName(h.ifname, h.step)
	if err := f.remove(h.pin); err != nil { // of an interface that had the name before: links() found it stale
		return err
	}
	if err := h.link.Pin(f.path(h.pin)); err != nil {
		return fmt.Errorf("pin link on %s: %w", h.ifname, err)
	}
	return nil
}
