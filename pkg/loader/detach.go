//go:build linux

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// programPrefix begins the names of all our programs.
const programPrefix = "llama_"

// detachAll takes everything of ours off this host: links, pinned or not, filters and the qdiscs made for them, maps
// and the pin folder. It says what it removed, and goes on where something fails. What native XDP does to the link
// when it goes, it does here too.
func detachAll(pin string) ([]string, error) {
	f := pinFolder(pin)
	held, err := f.lock()
	switch {
	case errors.Is(err, ErrPinsHeld):
		return nil, fmt.Errorf("an agent runs, which would put it back: stop it first: %w", err)
	case err == nil:
		defer held.Close()
	}
	var removed []string
	var errs []error
	for _, part := range []func() ([]string, error){f.detachLinks, detachUnpinned, f.detachFilters, f.removePins} {
		r, err := part()
		removed = append(removed, r...)
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// detachLinks detaches what is pinned. Others may have the link open too, so that removing the pin is not enough.
func (f pinFolder) detachLinks() (removed []string, err error) {
	links, err := f.links()
	errs := []error{err}
	for _, h := range links {
		if err := h.detach(); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, fmt.Sprintf("%s program on %s", h.step, h.ifname))
	}
	return removed, errors.Join(errs...)
}

// detachUnpinned detaches our programs on interfaces of this namespace that no pin holds, but a process.
func detachUnpinned() (removed []string, err error) {
	var errs []error
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		if info, err := it.Link.Info(); err != nil || !isOurs(info.Program) {
			continue
		}
		h, err := hookOf(it.Link)
		if errors.Is(err, ErrLost) {
			continue // on no interface, or on one of another namespace
		}
		if err == nil {
			err = h.link.Detach()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("detach link %d: %w", it.ID, err))
			continue
		}
		removed = append(removed, fmt.Sprintf("%s program on %s, of a process that runs", h.step, h.ifname))
	}
	return removed, errors.Join(append(errs, it.Err())...)
}

func isOurs(id ebpf.ProgramID) bool {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return false
	}
	defer p.Close()
	info, err := p.Info()
	return err == nil && strings.HasPrefix(info.Name, programPrefix)
}

// detachFilters removes our filters from all interfaces.
func (f pinFolder) detachFilters() (removed []string, err error) {
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range links {
		ifc := fromLink(l)
		errs = append(errs, removeEgressFilters(ifc, func(b *netlink.BpfFilter) bool { return strings.HasPrefix(b.Name, filterEgress) }))
		filters, err := filtersAt(ifc.Index, netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, x := range filters {
			b, ok := x.(*netlink.BpfFilter)
			if !ok || !strings.HasPrefix(b.Name, filterPrefix) {
				continue
			}
			if err := hookOfFilter(ifc, f, b).detach(); err != nil {
				errs = append(errs, err)
				continue
			}
			removed = append(removed, fmt.Sprintf("filter %s on %s", b.Name, ifc.Name))
		}
	}
	return removed, errors.Join(errs...)
}

// removePins empties the folder of what is ours, and removes it if nothing else is in it. One that was made for an
// agent in a folder of somebody else is theirs to remove.
func (f pinFolder) removePins() (removed []string, err error) {
	var errs []error
	for _, prefix := range []string{linkPrefix, qdiscPrefix, mapPrefix} {
		names, err := f.names(prefix)
		errs = append(errs, err)
		for _, name := range names {
			if err := f.remove(name); err != nil {
				errs = append(errs, err)
				continue
			}
			removed = append(removed, "pin "+f.path(name))
		}
	}
	rest, err := f.names("")
	if err == nil && f != "" && len(rest) == 0 && !slices.Contains(bpffsMounts(), string(f)) {
		if err := os.Remove(string(f)); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			errs = append(errs, fmt.Errorf("remove pin folder: %w", err))
		}
	}
	return removed, errors.Join(append(errs, err)...)
}
