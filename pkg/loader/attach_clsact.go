//go:build linux

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Our filter is known by its name, so that the next process finds it. What is not pinned is for one process, which
// must not be taken for the agent's, nor take the agent's for its own.
const (
	filterPrefix = "llama_"
	filterPinned = filterPrefix + "tc"
	filterOnce   = filterPrefix + "tc_once"
	clsactHandle = 0x11a3a
	// Lower priorities run first. Those from 1 on are tried until one is free, or holds BPF filters, which it can share.
	clsactPriorities = 16
)

// clsactHook is a program that a filter holds, on kernels without tcx. A filter stays when its process goes.
type clsactHook struct {
	ifc       Interface
	folder    pinFolder
	filter    *netlink.BpfFilter
	id        ebpf.ProgramID
	ownsQdisc bool
}

func attachClsact(ifc Interface, p *ebpf.Program, f pinFolder) (_ hook, err error) {
	created, err := addClsact(ifc.Index)
	if err != nil {
		return nil, err
	}
	h := &clsactHook{ifc: ifc, folder: f, ownsQdisc: created}
	if err := h.add(p); err != nil {
		return nil, errors.Join(err, h.removeQdisc())
	}
	if err := h.mark(p); err != nil {
		return nil, errors.Join(err, h.detach())
	}
	return h, nil
}

// addClsact makes the qdisc that filters hang on, and says whether it did: an ingress qdisc of somebody else serves
// as well.
func addClsact(ifindex int) (bool, error) {
	err := netlink.QdiscAdd(clsact(ifindex))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EEXIST):
		return false, nil
	}
	return false, fmt.Errorf("add qdisc clsact: %w", err)
}

func clsact(ifindex int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// adoptClsact finds the filter on the interface that an earlier process left. It returns nil if there is none.
func adoptClsact(ifc Interface, f pinFolder) (*clsactHook, error) {
	if f == "" {
		return nil, nil
	}
	filter, err := findFilter(ifc.Index, filterPinned)
	if err != nil || filter == nil {
		return nil, err
	}
	return hookOfFilter(ifc, f, filter), nil
}

func hookOfFilter(ifc Interface, f pinFolder, filter *netlink.BpfFilter) *clsactHook {
	h := &clsactHook{ifc: ifc, folder: f, filter: filter, id: ebpf.ProgramID(filter.Id)}
	// A mark that names another program was made for an interface that had this name before.
	h.ownsQdisc = h.id != 0 && f.pinnedProgram(h.markName()) == h.id
	return h
}

func filterName(f pinFolder) string {
	if f == "" {
		return filterOnce
	}
	return filterPinned
}

func findFilter(ifindex int, name string) (*netlink.BpfFilter, error) {
	filters, err := filtersAt(ifindex, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil, err
	}
	for _, x := range filters {
		if b, ok := x.(*netlink.BpfFilter); ok && b.Name == name {
			return b, nil
		}
	}
	return nil, nil
}

func filtersAt(ifindex int, parent uint32) ([]netlink.Filter, error) {
	l := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
	filters, err := whole(fmt.Sprintf("filters of interface %d", ifindex), func() ([]netlink.Filter, error) { return netlink.FilterList(l, parent) })
	if errors.Is(err, unix.EINVAL) {
		return nil, nil // no qdisc that could have any
	}
	if err != nil {
		return nil, notFound("look for filters", err)
	}
	return filters, nil
}

// add puts the filter in front of those that are there.
func (h *clsactHook) add(p *ebpf.Program) error {
	x, err := addFilter(h.ifc.Index, netlink.HANDLE_MIN_INGRESS, filterName(h.folder), p)
	if err != nil {
		return err
	}
	h.filter, h.id = x, programID(p)
	return nil
}

// addFilter adds a filter with the lowest priority that can be had.
func addFilter(ifindex int, parent uint32, name string, p *ebpf.Program) (*netlink.BpfFilter, error) {
	var errs []error
	for prio := uint16(1); prio <= clsactPriorities; prio++ {
		x := &netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: ifindex, Parent: parent, Handle: clsactHandle, Priority: prio, Protocol: unix.ETH_P_ALL,
			},
			Fd: p.FD(), Name: name, DirectAction: true,
		}
		err := netlink.FilterAdd(x)
		if err == nil {
			return x, nil
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("add filter: %w", err)
		}
		errs = append(errs, err) // the priority is one of another kind of filter
	}
	return nil, fmt.Errorf("add filter: priorities 1 to %d are taken: %w", clsactPriorities, errs[0])
}

func (h *clsactHook) markName() string { return qdiscPrefix + pinSafe(h.ifc.Name) }

// mark notes for the next process that the qdisc is ours to remove.
func (h *clsactHook) mark(p *ebpf.Program) error {
	if !h.ownsQdisc {
		return h.folder.remove(h.markName())
	}
	return h.folder.pinProgram(h.markName(), p)
}

func (h *clsactHook) update(p *ebpf.Program) error {
	x := *h.filter
	x.Fd = p.FD()
	if err := netlink.FilterReplace(&x); err != nil {
		return fmt.Errorf("replace filter on %s: %w", h.ifc.Name, err)
	}
	h.filter, h.id = &x, programID(p)
	return h.mark(p)
}

func (h *clsactHook) program() ebpf.ProgramID { return h.id }

func (h *clsactHook) lost() error {
	x, err := findFilter(h.ifc.Index, h.filter.Name)
	if err != nil {
		if errors.Is(err, ErrNoInterface) {
			err = errors.Join(err, ErrLost)
		}
		return err
	}
	switch {
	case x == nil:
		return fmt.Errorf("filter on %s was removed: %w", h.ifc.Name, ErrLost)
	case ebpf.ProgramID(x.Id) != h.id:
		return fmt.Errorf("filter on %s has program %d, not ours: %w", h.ifc.Name, x.Id, ErrLost)
	}
	return nil
}

func (h *clsactHook) detach() error {
	err := netlink.FilterDel(h.filter)
	if err != nil && h.lost() != nil {
		err = nil // it is gone already, or its interface is
	}
	if err != nil {
		return fmt.Errorf("remove filter from %s: %w", h.ifc.Name, err)
	}
	return errors.Join(h.removeQdisc(), h.folder.remove(h.markName()))
}

// removeQdisc takes the qdisc off if we made it and nobody else has hung a filter on it since.
func (h *clsactHook) removeQdisc() error {
	if !h.ownsQdisc {
		return nil
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := filtersAt(h.ifc.Index, parent)
		if errors.Is(err, ErrNoInterface) {
			return nil
		}
		if err != nil || len(filters) > 0 {
			return err
		}
	}
	err := netlink.QdiscDel(clsact(h.ifc.Index))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove qdisc from %s: %w", h.ifc.Name, err)
	}
	return nil
}

func (h *clsactHook) leave() error { return nil }

func (h *clsactHook) flavor() string { return "clsact" }
