//go:build linux

package loader

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// sameMaps says whether the program with that id works on the same maps as p: then it sees the same policy, lease and
// sessions, and counts where we read. Maps of constants and the like are made anew at each load and do not count.
func sameMaps(id ebpf.ProgramID, p *ebpf.Program) bool {
	if id == programID(p) {
		return true
	}
	there, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return false
	}
	defer there.Close()
	old, ok := mapsOf(there)
	if !ok {
		return false
	}
	now, ok := mapsOf(p)
	return ok && len(now) > 0 && slices.Equal(old, now)
}

func mapsOf(p *ebpf.Program) ([]ebpf.MapID, bool) {
	info, err := p.Info()
	if err != nil {
		return nil, false
	}
	ids, ok := info.MapIDs()
	ids = slices.DeleteFunc(slices.Clone(ids), func(id ebpf.MapID) bool {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return false
		}
		defer m.Close()
		info, err := m.Info()
		return err == nil && strings.Contains(info.Name, ".") // .rodata, .data, .bss
	})
	slices.Sort(ids)
	return ids, ok
}
