//go:build linux

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attachXDP puts a program on an interface, natively or generically but never as the kernel would choose: its choice
// is native wherever the driver has it, and then final.
func attachXDP(ifc Interface, step Step, p *ebpf.Program, f pinFolder) (*linkHook, error) {
	flags := link.XDPDriverMode
	if step == StepGeneric {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: ifc.Index, Flags: flags})
	if err != nil {
		return nil, err
	}
	h := &linkHook{link: l, ifindex: ifc.Index, ifname: ifc.Name, step: step}
	// Some drivers say yes and install nothing.
	if err := errors.Join(h.lost(), h.keep(f)); err != nil {
		return nil, errors.Join(err, h.detach())
	}
	return h, nil
}

// xdpPrograms are the ids of the programs on an interface, 0 where there is none.
type xdpPrograms struct {
	native, generic, offloaded ebpf.ProgramID
}

func (x xdpPrograms) at(s Step) ebpf.ProgramID {
	if s == StepGeneric {
		return x.generic
	}
	return x.native
}

// step is the one on which the program is, or 0.
func (x xdpPrograms) step(id ebpf.ProgramID) Step {
	switch {
	case id == 0:
	case id == x.native:
		return StepNative
	case id == x.generic:
		return StepGeneric
	}
	return 0
}

// Attributes within IFLA_XDP.
const (
	xdpNativeID    = 5 // IFLA_XDP_DRV_PROG_ID
	xdpGenericID   = 6 // IFLA_XDP_SKB_PROG_ID
	xdpOffloadedID = 7 // IFLA_XDP_HW_PROG_ID
)

// readXDP asks the interface for its programs. It asks netlink itself, because with programs in two modes there is
// no single one to report, which is all that the library reads.
func readXDP(ifindex int) (xdpPrograms, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(ifindex)
	req.AddData(msg)
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return xdpPrograms{}, notFound(fmt.Sprintf("read programs of interface %d", ifindex), err)
	}
	var x xdpPrograms
	for _, a := range answers {
		outer, err := nl.ParseRouteAttr(a[msg.Len():])
		if err != nil {
			return x, fmt.Errorf("read programs of interface %d: %w", ifindex, err)
		}
		for _, o := range outer {
			if o.Attr.Type&^unix.NLA_F_NESTED != unix.IFLA_XDP {
				continue
			}
			inner, err := nl.ParseRouteAttr(o.Value)
			if err != nil {
				return x, fmt.Errorf("read programs of interface %d: %w", ifindex, err)
			}
			for _, i := range inner {
				x.set(i.Attr.Type, i.Value)
			}
		}
	}
	return x, nil
}

func (x *xdpPrograms) set(attr uint16, value []byte) {
	if len(value) < 4 {
		return // attached or not: one octet
	}
	id := ebpf.ProgramID(binary.NativeEndian.Uint32(value))
	switch attr {
	case xdpNativeID:
		x.native = id
	case xdpGenericID:
		x.generic = id
	case xdpOffloadedID:
		x.offloaded = id
	}
}
