package hostinfo

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is one thing that the device does in the kernel's stead (ethtool -k).
type Offload struct {
	Name  string `json:"name"`
	On    bool   `json:"on"`
	Fixed bool   `json:"fixed,omitempty"` // cannot be changed
}

// Offloads that change what a program sees of a packet, or may write into it.
const (
	OffloadLRO    = "rx-lro"           // merges packets
	OffloadGROHW  = "rx-gro-hw"        // the same, reversibly
	OffloadVLANRx = "rx-vlan-hw-parse" // takes the VLAN tag out of the frame
)

var offloadNames = []string{OffloadLRO, OffloadGROHW, OffloadVLANRx, "rx-vlan-stag-hw-parse", "rx-checksum",
	"tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"}

// Offload returns one of Offloads by its name.
func (i *Interface) Offload(name string) (o Offload, known bool) {
	for _, o := range i.Offloads {
		if o.Name == name {
			return o, true
		}
	}
	return Offload{}, false
}

const (
	setFeatures  = 4  // ETH_SS_FEATURES
	stringSize   = 32 // ETH_GSTRING_LEN
	maxFeatures  = 1024
	featureBlock = 16 // octets: struct ethtool_get_features_block is four words of bits
)

// offloads returns nil where the driver or the kernel does not say.
func (e ethtool) offloads(name string) (out []Offload) {
	names := e.featureNames(name)
	blocks := (len(names) + 31) / 32
	if blocks == 0 {
		return nil
	}
	b := make([]byte, 8+blocks*featureBlock) // struct ethtool_gfeatures
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GFEATURES)
	binary.NativeEndian.PutUint32(b[4:], uint32(blocks))
	if e.ioctl(name, unsafe.Pointer(&b[0])) != nil {
		return nil
	}
	for _, want := range offloadNames {
		bit := slices.Index(names, want)
		if bit < 0 {
			continue
		}
		block := b[8+bit/32*featureBlock:]
		is := func(word int) bool { return binary.NativeEndian.Uint32(block[4*word:])>>(bit%32)&1 != 0 }
		available, active, neverChanged := is(0), is(2), is(3)
		out = append(out, Offload{Name: want, On: active, Fixed: !available || neverChanged})
	}
	return out
}

// featureNames returns the names in the order of their bits, which differs by kernel.
func (e ethtool) featureNames(name string) []string {
	set := struct { // struct ethtool_sset_info
		cmd, reserved uint32
		mask          uint64
		size          uint32
		_             uint32
	}{cmd: unix.ETHTOOL_GSSET_INFO, mask: 1 << setFeatures}
	if e.ioctl(name, unsafe.Pointer(&set)) != nil || set.mask == 0 || set.size == 0 || set.size > maxFeatures {
		return nil
	}
	b := make([]byte, 12+set.size*stringSize) // struct ethtool_gstrings
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(b[4:], setFeatures)
	binary.NativeEndian.PutUint32(b[8:], set.size)
	if e.ioctl(name, unsafe.Pointer(&b[0])) != nil {
		return nil
	}
	names := make([]string, 0, set.size)
	for s := range slices.Chunk(b[12:], stringSize) {
		names = append(names, cString(s))
	}
	return names
}
