//go:build linux

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// dropOtherShapes unpins the maps in dir which are of another shape than spec has
// them: those of another version of the agent. What holds them, such as a
// program that is still attached, keeps them until it is replaced.
func dropOtherShapes(dir string, spec *ebpf.CollectionSpec, log *slog.Logger) error {
	for name, ms := range spec.Maps {
		if ms.Pinning != ebpf.PinByName {
			continue
		}
		path := filepath.Join(dir, name)
		m, err := ebpf.LoadPinnedMap(path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = sameShape(ms, m)
			if cerr := m.Close(); cerr != nil {
				return fmt.Errorf("close map %s: %w", name, cerr)
			}
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("open pinned map %s: %w", path, err)
		}
		log.Info("pinned map is of another version: replaced", "map", name, "reason", err.Error())
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("unpin map: %w", err)
		}
	}
	return nil
}

// sameShape compares sizes and, where the kernel kept them, the fields.
func sameShape(ms *ebpf.MapSpec, m *ebpf.Map) error {
	if err := ms.Compatible(m); err != nil {
		return err
	}
	info, err := m.Info()
	if err != nil {
		return err
	}
	id, ok := info.BTFID()
	if !ok || id == 0 {
		return nil
	}
	h, err := btf.NewHandleFromID(id)
	if err != nil {
		return err
	}
	defer h.Close()
	types, err := h.Spec(nil)
	if err != nil {
		return err
	}
	for _, want := range []btf.Type{ms.Key, ms.Value} {
		if err := sameType(types, want); err != nil {
			return err
		}
	}
	return nil
}

func sameType(types *btf.Spec, want btf.Type) error {
	s, ok := want.(*btf.Struct)
	if !ok {
		return nil
	}
	var got *btf.Struct
	if err := types.TypeByName(s.Name, &got); err != nil {
		return fmt.Errorf("type %s: %w", s.Name, err)
	}
	var f btf.GoFormatter
	w, err := f.TypeDeclaration("t", s)
	if err != nil {
		return err
	}
	g, err := f.TypeDeclaration("t", got)
	if err != nil {
		return err
	}
	if w != g {
		return fmt.Errorf("type %s: fields differ: %w", s.Name, ebpf.ErrMapIncompatible)
	}
	return nil
}
