//go:build linux

package loader

import "github.com/cilium/ebpf"

// unpinned gives the maps no names in the file system.
func unpinned(spec *ebpf.CollectionSpec) {
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
}
