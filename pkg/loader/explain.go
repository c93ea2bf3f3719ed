//go:build linux

package loader

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// explain turns the errno of an attempt, which is all that the kernel says, into what a network engineer can act on.
func (a *attachment) explain(s Step, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("not permitted (CAP_NET_ADMIN and CAP_BPF are needed, before kernel 5.8 CAP_SYS_ADMIN): %w", err)
	case s == StepTC:
		return err
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return a.explainBusy(err)
	case errors.Is(err, unix.ENOTCONN):
		return fmt.Errorf("its peer is missing: %w", err)
	case s == StepNative && refused(err):
		return fmt.Errorf("driver %s refuses%s: %w", a.driver.name, a.hint(), err)
	}
	return err
}

// refused are the errors by which drivers say no.
func refused(err error) bool {
	for _, e := range []unix.Errno{unix.EOPNOTSUPP, unix.EINVAL, unix.ERANGE, unix.ENOSPC, unix.ENOMEM, unix.E2BIG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// hint is what the table knows about why: the MTU where that is plain, else its rules.
func (a *attachment) hint() string {
	d, ifc := a.driver, a.Interface
	switch {
	case d.mtu != 0 && a.largestMTU() > d.mtu:
		return " (" + d.mtuMend(ifc) + ")"
	case d.queues != "" && d.trap != "":
		return fmt.Sprintf(" (it needs %s; %s)", d.queues, d.trap)
	case d.queues != "":
		return fmt.Sprintf(" (it needs %s)", d.queues)
	case d.trap != "":
		return fmt.Sprintf(" (%s)", d.trap)
	}
	return ""
}

// largestMTU is that of the interface, or of a veth's other end if it is in sight.
func (a *attachment) largestMTU() int {
	mtu := a.Interface.MTU
	if l, err := netlink.LinkByIndex(a.Interface.Index); err == nil && l.Type() == "veth" {
		if peer, err := netlink.LinkByIndex(l.Attrs().ParentIndex); err == nil {
			mtu = max(mtu, peer.Attrs().MTU)
		}
	}
	return mtu
}

// explainBusy names whose program it is: one on the interface that came between our look and our attempt, or one on
// an interface that stands upon it.
func (a *attachment) explainBusy(err error) error {
	if there := a.foreignXDP(nil); there != nil {
		return there
	}
	links, listErr := listLinks()
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	for _, l := range links {
		upper := fromLink(l)
		if upper.Index != a.Interface.Master && upper.Parent != a.Interface.Index {
			continue
		}
		x, xErr := readXDP(upper.Index)
		if id := max(x.native, x.generic); xErr == nil && id != 0 {
			return becausef(ErrForeign, "%s, which stands on it, has an XDP program: %s", upper.Name, findOwner(id))
		}
	}
	return fmt.Errorf("%w: %w", ErrForeign, err)
}
