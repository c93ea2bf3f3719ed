package hostinfo

import (
	"slices"

	"github.com/vishvananda/netlink/nl"
)

// XDPFeatures is what the driver says of XDP (generic netlink family "netdev").
type XDPFeatures struct {
	// Features: basic, redirect, ndo-xmit, xsk-zerocopy, hw-offload, rx-sg, ndo-xmit-sg.
	// basic is native XDP itself, rx-sg packets of more than one buffer.
	Features   []string `json:"features"`
	RxMetadata []string `json:"rx_metadata,omitempty"` // timestamp, hash, vlan-tag
}

// Numbers of the family's interface to user space.
const (
	netdevDevGet        = 1
	netdevIfindex       = 1
	netdevXDPFeatures   = 3
	netdevXDPRxMetadata = 5
)

// Native says whether the driver runs XDP programs itself.
func (x *XDPFeatures) Native() bool { return slices.Contains(x.Features, "basic") }

// MultiBuffer says whether it does so for packets of more than one buffer, as jumbo frames are.
func (x *XDPFeatures) MultiBuffer() bool { return slices.Contains(x.Features, "rx-sg") }

func (r *Reader) xdpFeatures(index int) *XDPFeatures {
	a := r.netdev.get(netdevDevGet, nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(index))))
	mask, ok := a.u64(netdevXDPFeatures)
	if !ok {
		return nil
	}
	x := &XDPFeatures{Features: named(mask, "basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg")}
	if mask, ok := a.u64(netdevXDPRxMetadata); ok {
		x.RxMetadata = named(mask, "timestamp", "hash", "vlan-tag")
	}
	return x
}

// named lists the names of the bits that are set; names[0] is bit 0.
func named(mask uint64, names ...string) []string {
	out := []string{}
	for bit, name := range names {
		if mask>>bit&1 != 0 {
			out = append(out, name)
		}
	}
	return out
}
