//go:build linux

package loader

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// replace brings a map to the entries wanted. New ones come before the old ones
// go, so that none is missing meanwhile, unless there is no room for both. They
// come in the order of cmp and go in the opposite one, if there is a cmp.
func replace[K, V comparable](m *ebpf.Map, want map[K]V, cmp func(a, b K) int) error {
	if len(want) > int(m.MaxEntries()) {
		return fmt.Errorf("%d entries, at most %d", len(want), m.MaxEntries())
	}
	have, err := entries[K, V](m)
	if err != nil {
		return err
	}
	var come, gone []K
	for k, v := range want {
		if old, ok := have[k]; !ok || old != v {
			come = append(come, k)
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			gone = append(gone, k)
		}
	}
	if cmp != nil {
		slices.SortFunc(come, cmp)
		slices.SortFunc(gone, func(a, b K) int { return cmp(b, a) })
	}
	add := func() error {
		for _, k := range come {
			if err := m.Update(k, want[k], ebpf.UpdateAny); err != nil {
				return err
			}
		}
		return nil
	}
	remove := func() error {
		for _, k := range gone {
			if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
		}
		return nil
	}
	if len(have)+len(come) > int(m.MaxEntries()) {
		add, remove = remove, add
	}
	if err := add(); err != nil {
		return err
	}
	return remove()
}

// entries reads a whole map that only user space writes.
func entries[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	have := make(map[K]V)
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		have[k] = v
	}
	return have, it.Err()
}
