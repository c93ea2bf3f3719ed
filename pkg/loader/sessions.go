//go:build linux

package loader

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// peerIdle is after how long without a request a peer's session is forgotten.
const peerIdle = time.Minute

// crowd is the source that stands for all that have to be answered without a
// session of their own.
var crowd bpfLlamaAddr

// makeCrowd makes the entry of the crowd, which must not be refused for want of
// room when it is needed.
func (o *object) makeCrowd() error {
	err := o.LlamaSource.Update(crowd, bpfLlamaSource{}, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("make source of the crowd: %w", err)
	}
	return nil
}

// ageSessions forgets peers' sessions that have been idle, counts those of each
// source anew, and forgets the sources that have none. now is ns monotonic.
//
// A packet may come in between: then a session that was idle for a minute starts
// anew, or a source has one session more than is counted until the next call.
func (o *object) ageSessions(now int64) error {
	idle := func(seen uint64) bool { return now-int64(seen) > int64(peerIdle) }
	live := make(map[bpfLlamaAddr]uint32)
	var gone []bpfLlamaKey
	err := batches(o.LlamaPeer, func(k *bpfLlamaKey, s *bpfLlamaSession) {
		if idle(s.SeenNs) {
			gone = append(gone, *k)
		} else {
			live[k.Src]++
		}
	})
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	for i := range gone {
		if err := remove(o.LlamaPeer, &gone[i]); err != nil {
			return fmt.Errorf("remove session: %w", err)
		}
	}
	type change struct {
		addr   bpfLlamaAddr
		source bpfLlamaSource
	}
	var changes []change
	err = batches(o.LlamaSource, func(a *bpfLlamaAddr, s *bpfLlamaSource) {
		if n := live[*a]; *a != crowd && (n != s.Sessions || n == 0 && idle(s.TatNs)) {
			changes = append(changes, change{*a, bpfLlamaSource{TatNs: s.TatNs, Sessions: n, Gen: s.Gen}})
		}
	})
	if err != nil {
		return fmt.Errorf("read sources: %w", err)
	}
	for i := range changes {
		c := &changes[i]
		if c.source.Sessions == 0 && idle(c.source.TatNs) {
			err = remove(o.LlamaSource, &c.addr)
		} else if err = o.LlamaSource.Update(&c.addr, &c.source, ebpf.UpdateExist); errors.Is(err, ebpf.ErrKeyNotExist) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("write source: %w", err)
		}
	}
	return nil
}

func remove[K any](m *ebpf.Map, k *K) error {
	if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// batches calls each for every entry of a hash that programs write meanwhile. An
// entry that comes or goes may be missed.
func batches[K, V any](m *ebpf.Map, each func(*K, *V)) error {
	const most = 4096
	keys, values := make([]K, most), make([]V, most)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			each(&keys[i], &values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // the end
			return nil
		}
		if err != nil {
			return err
		}
	}
}
