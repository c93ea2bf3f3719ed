package hostinfo

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Hook is a place where a program runs.
type Hook string

// The values of Hook. Programs at tcx are seen through bpf(2) only, and not here.
const (
	HookNative  Hook = "xdp native"
	HookGeneric Hook = "xdp generic"
	HookOffload Hook = "xdp offload"
	HookTC      Hook = "tc ingress"
)

// Program is one that runs on what an interface receives.
type Program struct {
	Hook  Hook   `json:"hook"`
	ID    uint32 `json:"id"`
	Name  string `json:"name,omitempty"`  // as it was given to TC; XDP's are known to bpf(2) only
	Owner string `json:"owner,omitempty"` // as Reader.Owner says
}

// XDP says whether the program sits where XDP programs exclude each other.
func (p Program) XDP() bool { return strings.HasPrefix(string(p.Hook), "xdp") }

func (r *Reader) programs(link netlink.Link) ([]Program, error) {
	out, err := xdpPrograms(link.Attrs().Index)
	if err != nil {
		return nil, err
	}
	// Filters that cannot be listed (no TC in this kernel) are none.
	filters, err := netlink.FilterList(link, netlink.HANDLE_MIN_INGRESS)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		filters = nil
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok {
			out = append(out, Program{Hook: HookTC, ID: uint32(b.Id), Name: b.Name})
		}
	}
	if r.Owner != nil {
		for i := range out {
			out[i].Owner = r.Owner(out[i].ID)
		}
	}
	return out, nil
}

// xdpPrograms asks for the link itself, since netlink.Link has one program only:
// a device can have one in the driver or the kernel, and one offloaded.
func xdpPrograms(index int) ([]Program, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	replies, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return nil, err
	}
	if len(replies) != 1 || len(replies[0]) < unix.SizeofIfInfomsg {
		return nil, fmt.Errorf("%d replies, want one", len(replies))
	}
	link := parseAttributes(replies[0][unix.SizeofIfInfomsg:])
	xdp := parseAttributes(link[unix.IFLA_XDP])
	var out []Program
	for _, at := range []struct {
		kind uint16
		hook Hook
	}{
		{unix.IFLA_XDP_DRV_PROG_ID, HookNative},
		{unix.IFLA_XDP_SKB_PROG_ID, HookGeneric},
		{unix.IFLA_XDP_HW_PROG_ID, HookOffload},
	} {
		if id, ok := xdp.u32(at.kind); ok {
			out = append(out, Program{Hook: at.hook, ID: id})
		}
	}
	return out, nil
}
