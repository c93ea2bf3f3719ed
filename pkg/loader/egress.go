//go:build linux

package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	filterEgress     = filterPrefix + "egress"
	filterEgressOnce = filterEgress + "_once_" // and the process
)

// egress is the program that stamps probes where they leave an interface. It is
// for this process alone, since probes are: nothing of it is pinned.
type egress interface {
	detach() error
	// lost is nil as long as it is where it was put.
	lost() error
}

// attachEgress puts the program behind all others on the egress of an interface: by
// tcx, and on kernels without it (before 6.6) as a filter of clsact.
func attachEgress(ifc Interface, p *ebpf.Program, of owner) (egress, error) {
	l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: ifc.Index, Attach: ebpf.AttachTCXEgress})
	if err == nil {
		return tcxEgress{ifc, l}, nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return nil, fmt.Errorf("attach to egress of %s: %w", ifc.Name, err)
	}
	return attachClsactEgress(ifc, p, of)
}

// An owner is who has a filter put on the egress. It is in the filter's name, so that neither takes the other's off.
type owner int

const (
	ofAgent owner = iota // one on an interface
	ofOnce               // a Measurement: as many as there are processes
)

func (o owner) filterName() string {
	if o == ofAgent {
		return filterEgress
	}
	return filterEgressOnce + strconv.Itoa(os.Getpid())
}

// left says whether a filter of that name was left by a process of that kind that is gone, or is to go.
func (o owner) left(name string) bool {
	if o == ofAgent {
		return name == filterEgress
	}
	pid, found := strings.CutPrefix(name, filterEgressOnce)
	if !found {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return name == o.filterName() || errors.Is(err, os.ErrNotExist)
}

type tcxEgress struct {
	ifc  Interface
	link link.Link
}

func (e tcxEgress) lost() error {
	info, err := e.link.Info()
	if err != nil {
		return err
	}
	if int(info.TCX().Ifindex) != e.ifc.Index {
		return fmt.Errorf("link on the egress of %s was detached: %w", e.ifc.Name, ErrLost)
	}
	return nil
}

func (e tcxEgress) detach() error {
	err := e.link.Detach()
	if errors.Is(err, unix.ENOLINK) {
		err = nil // with its interface
	}
	return errors.Join(err, e.link.Close())
}

// clsactEgress is a filter, which stays when its process is killed: the next one
// finds it by its name and replaces it.
type clsactEgress struct {
	ifc       Interface
	name      string
	id        ebpf.ProgramID
	ownsQdisc bool
}

func (e *clsactEgress) is(b *netlink.BpfFilter) bool {
	return b.Name == e.name && ebpf.ProgramID(b.Id) == e.id
}

func attachClsactEgress(ifc Interface, p *ebpf.Program, of owner) (egress, error) {
	if err := removeEgressFilters(ifc, func(b *netlink.BpfFilter) bool { return of.left(b.Name) }); err != nil {
		return nil, err
	}
	created, err := addClsact(ifc.Index)
	if err != nil {
		return nil, err
	}
	if _, err := addFilter(ifc.Index, netlink.HANDLE_MIN_EGRESS, of.filterName(), p); err != nil {
		return nil, err
	}
	return &clsactEgress{ifc: ifc, name: of.filterName(), id: programID(p), ownsQdisc: created}, nil
}

func removeEgressFilters(ifc Interface, which func(*netlink.BpfFilter) bool) error {
	filters, err := filtersAt(ifc.Index, netlink.HANDLE_MIN_EGRESS)
	if err != nil {
		return err
	}
	for _, x := range filters {
		if b, ok := x.(*netlink.BpfFilter); ok && which(b) {
			if err := netlink.FilterDel(b); err != nil {
				return fmt.Errorf("remove filter from egress of %s: %w", ifc.Name, err)
			}
		}
	}
	return nil
}

func (e *clsactEgress) lost() error {
	filters, err := filtersAt(e.ifc.Index, netlink.HANDLE_MIN_EGRESS)
	if err != nil {
		return err
	}
	for _, x := range filters {
		if b, ok := x.(*netlink.BpfFilter); ok && e.is(b) {
			return nil
		}
	}
	return fmt.Errorf("filter on the egress of %s was removed: %w", e.ifc.Name, ErrLost)
}

func (e *clsactEgress) detach() error {
	if isGone(e.ifc.Index) {
		return nil
	}
	if err := removeEgressFilters(e.ifc, e.is); err != nil {
		return err
	}
	h := clsactHook{ifc: e.ifc, ownsQdisc: e.ownsQdisc}
	return h.removeQdisc()
}

// beginProbes makes the tables ready, if anything is to be measured.
func (d *Datapath) beginProbes() (err error) {
	o := d.options.Probes
	if o.Flows == 0 {
		return d.object.setProbePorts(0, 0)
	}
	if d.probes, err = newProbes(d.object); err != nil {
		return fmt.Errorf("measure in the kernel: %w", err)
	}
	return d.object.setProbePorts(o.First, o.Last)
}

// Probes is the part that measures; nil if Options.Probes asked for none. It ends
// with the Datapath.
func (d *Datapath) Probes() *Probes { return d.probes }

// stampEgress has the probes stamped that leave by the interface. As long as that cannot
// be had, they are measured by their sockets.
func (d *Datapath) stampEgress(s *site) {
	if d.probes == nil {
		return
	}
	e, err := attachEgress(s.Interface, d.object.LlamaEgress, ofAgent)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if d.notices.isNew("egress of "+s.Interface.Name, text) {
		d.options.Log.Warn("probes are stamped by their sockets only", "interface", s.Interface.Name, "why", err)
	}
	s.egress = e
}

// recoverEgress puts the program on that stamps probes, if it could not be had before or
// somebody took it off: without it all replies would come to the sockets, and none would
// have an RTT.
func (d *Datapath) recoverEgress(s *site) error {
	if s.egress == nil {
		d.stampEgress(s)
		return nil
	}
	err := s.egress.lost()
	if !errors.Is(err, ErrLost) {
		return err
	}
	d.options.Log.Warn("program lost", "interface", s.Interface.Name, "error", err)
	err = s.detachEgress()
	d.stampEgress(s)
	return err
}

func (s *site) detachEgress() error {
	if s.egress == nil {
		return nil
	}
	err := s.egress.detach()
	s.egress = nil
	return err
}

// coverProbes notes on which interfaces probes are measured in the kernel: where
// both programs are. An interface with members is one if all of them are.
func (d *Datapath) coverProbes() {
	if d.probes == nil {
		return
	}
	covered := map[int]bool{}
	for _, s := range d.sites {
		if s.egress != nil && s.Step != StepSocket {
			covered[s.Interface.Index] = true
		}
	}
	for upper, members := range d.members {
		covered[upper] = !slices.ContainsFunc(members, func(m int) bool { return !covered[m] })
	}
	if d.probes.cover(covered) && d.options.Probes.Changed != nil {
		d.options.Probes.Changed()
	}
}
