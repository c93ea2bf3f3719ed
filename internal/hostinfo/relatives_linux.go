package hostinfo

import (
	"slices"

	"github.com/vishvananda/netlink"
)

// Relative is an interface above or below another one.
type Relative struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	Kind  string `json:"kind"`
}

// stacked are the kinds whose parent carries their packets. A veth has a
// "parent" too, which is its peer.
var stacked = []string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "vxlan", "dsa"}

func (r *Reader) relatives(link netlink.Link) (uppers, lowers []Relative) {
	for _, other := range r.links {
		if r.above(other, link) {
			uppers = append(uppers, r.relative(other))
		}
		if r.above(link, other) {
			lowers = append(lowers, r.relative(other))
		}
	}
	return uppers, lowers
}

// above says whether upper is built directly on lower.
func (r *Reader) above(upper, lower netlink.Link) bool {
	u, l := upper.Attrs(), lower.Attrs()
	if l.MasterIndex == u.Index {
		return true
	}
	here := u.NetNsID == -1 // or its parent is in another namespace, where indexes mean something else
	return here && u.ParentIndex == l.Index && u.Index != l.Index && slices.Contains(stacked, kindOf(upper))
}

func (r *Reader) relative(l netlink.Link) Relative {
	return Relative{Name: l.Attrs().Name, Index: l.Attrs().Index, Kind: r.kindByLink[l.Attrs().Index]}
}
