//go:build linux

package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// Disarm has the programs that a dead agent left behind pass everything at once, instead of at the end of its lease.
// It says whether any was armed. Where an agent runs they are that one's, and stay as they are. Without pins nothing
// is asked of bpf(2), which may not be allowed.
func Disarm(pin string) (was bool, err error) {
	f := pinFolder(pin)
	if _, err := os.Stat(f.path("llama_lease")); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	held, err := f.lock()
	if errors.Is(err, ErrPinsHeld) || errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer held.Close()
	if was, err = disarm(f.path("llama_lease")); err != nil {
		return false, explain(fmt.Errorf("disarm programs of an earlier agent: %w", err))
	}
	return was, nil
}

func disarm(path string) (was bool, err error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return false, err
	}
	defer m.Close()
	spec, err := loadBpf()
	if err != nil {
		return false, err
	}
	if err := sameShape(spec.Maps["llama_lease"], m); err != nil {
		return false, fmt.Errorf("%s is of another version, take it off with llama-agent detach: %w", path, err)
	}
	var l bpfLlamaLease
	if err := m.Lookup(uint32(0), &l); err != nil {
		return false, err
	}
	if l.UntilNs <= uint64(monoNow()) {
		return false, nil
	}
	l.UntilNs = 0
	return true, m.Update(uint32(0), &l, ebpf.UpdateExist)
}
