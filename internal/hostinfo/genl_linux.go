package hostinfo

import (
	"encoding/binary"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// family is one of generic netlink.
type family struct {
	id      int
	version uint8
}

// attributes of a reply by type, without the flags in the type.
type attributes map[uint16][]byte

// findFamily returns nil where the kernel has none of that name.
func findFamily(name string) *family {
	f, err := netlink.GenlFamilyGet(name)
	if err != nil {
		return nil
	}
	return &family{id: int(f.ID), version: uint8(f.Version)}
}

// get sends one request and returns the attributes of the one reply, nil if
// there is none: the driver does not know, or the interface has just gone.
func (f *family) get(command uint8, attrs ...*nl.RtAttr) attributes {
	if f == nil {
		return nil
	}
	req := nl.NewNetlinkRequest(f.id, unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: command, Version: f.version})
	for _, a := range attrs {
		req.AddData(a)
	}
	replies, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(replies) != 1 || len(replies[0]) < nl.SizeofGenlmsg {
		return nil
	}
	return parseAttributes(replies[0][nl.SizeofGenlmsg:])
}

func parseAttributes(b []byte) attributes {
	list, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil
	}
	out := attributes{}
	for _, a := range list {
		out[a.Attr.Type&nl.NLA_TYPE_MASK] = a.Value
	}
	return out
}

func (a attributes) u8(kind uint16) (uint8, bool) {
	v := a[kind]
	if len(v) < 1 {
		return 0, false
	}
	return v[0], true
}

func (a attributes) u32(kind uint16) (uint32, bool) {
	v := a[kind]
	if len(v) < 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(v), true
}

func (a attributes) u64(kind uint16) (uint64, bool) {
	v := a[kind]
	if len(v) < 8 {
		return 0, false
	}
	return binary.NativeEndian.Uint64(v), true
}
