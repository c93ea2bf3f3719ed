//go:build linux

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachTC puts a program before all others on the ingress of an interface: by tcx, and on kernels without it
// (before 6.6) as a filter of clsact.
func attachTC(ifc Interface, p *ebpf.Program, f pinFolder, noTCX bool) (hook, error) {
	if noTCX {
		return attachClsact(ifc, p, f)
	}
	h, err := attachTCX(ifc, p, f)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return attachClsact(ifc, p, f)
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

func attachTCX(ifc Interface, p *ebpf.Program, f pinFolder) (*linkHook, error) {
	l, err := link.AttachTCX(link.TCXOptions{
		Program: p, Interface: ifc.Index, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
	})
	if err != nil {
		return nil, err
	}
	h := &linkHook{link: l, ifindex: ifc.Index, ifname: ifc.Name, step: StepTC}
	if err := h.keep(f); err != nil {
		return nil, errors.Join(err, h.detach())
	}
	return h, nil
}

// tcxPlace is the link's place among the programs on the ingress of the interface, 0 for the first that runs, or -1
// if it is not among them.
func tcxPlace(ifindex int, id link.ID) (int, error) {
	r, err := tcxIngress(ifindex)
	if err != nil {
		return 0, err
	}
	for i, p := range r {
		if l, ok := p.LinkID(); ok && l == id {
			return i, nil
		}
	}
	return -1, nil
}

func tcxIngress(ifindex int) ([]link.AttachedProgram, error) {
	r, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("read tcx programs of interface %d: %w", ifindex, err)
	}
	return r.Programs, nil
}

// ahead returns the owners of the tcx programs before ours.
func (h *linkHook) ahead() ([]Owner, error) {
	info, err := h.link.Info()
	if err != nil {
		return nil, err
	}
	programs, err := tcxIngress(h.ifindex)
	if err != nil {
		return nil, err
	}
	var owners []Owner
	for _, p := range programs {
		if l, ok := p.LinkID(); ok && l == info.ID {
			return owners, nil
		}
		owners = append(owners, findOwner(p.ID))
	}
	return nil, fmt.Errorf("link is not among those on %s: %w", h.ifname, ErrLost)
}
