//go:build linux

package loader

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// loaded is the object that tests share, one after the other: the verifier takes most of a second for one, and in an
// emulated machine ten.
var loaded = sync.OnceValues(func() (*object, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	if err := fit(spec); err != nil {
		return nil, err
	}
	unpinned(spec)
	return newObject(spec, "")
})

// makeNew makes all maps and what user space remembers of them as they were after loading.
func (o *object) makeNew(t testing.TB) {
	t.Helper()
	for _, m := range o.all() {
		emptyMap(t, m)
	}
	o.lease, o.config, o.proven = bpfLlamaLease{}, bpfLlamaConfig{}, [programKinds]bool{}
	require.NoError(t, o.makeCrowd())
}

// all are the maps, also those that are added to bpf/ later, but for those of probes in flight: tests that measure load
// an object of their own (probes_test.go).
func (o *object) all() map[string]*ebpf.Map {
	out := make(map[string]*ebpf.Map)
	v := reflect.ValueOf(o.bpfMaps)
	for i := range v.NumField() {
		if m := v.Field(i).Interface().(*ebpf.Map); m == o.LlamaSlot || m == o.LlamaReplies {
			continue
		}
		out[v.Type().Field(i).Tag.Get("ebpf")] = v.Field(i).Interface().(*ebpf.Map)
	}
	return out
}

// emptyMap removes the entries of a hash, and writes zeroes to those of an array.
func emptyMap(t testing.TB, m *ebpf.Map) {
	t.Helper()
	switch m.Type() {
	case ebpf.Array:
		for i := range m.MaxEntries() {
			require.NoError(t, m.Put(i, make([]byte, m.ValueSize())))
		}
	case ebpf.PerCPUArray:
		cpus := make([][]byte, ebpf.MustPossibleCPU())
		for i := range cpus {
			cpus[i] = make([]byte, m.ValueSize())
		}
		for i := range m.MaxEntries() {
			require.NoError(t, m.Put(i, cpus))
		}
	default:
		for _, key := range keysOf(t, m) {
			require.NoError(t, m.Delete(key))
		}
	}
}

func keysOf(t testing.TB, m *ebpf.Map) (keys [][]byte) {
	t.Helper()
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	it := m.Iterate()
	for it.Next(&key, &value) {
		keys = append(keys, bytes.Clone(key))
	}
	require.NoError(t, it.Err())
	return keys
}

// A shared object that tests have used is as one that was loaded just now.
func TestRigIsAsNew(t *testing.T) {
	content := func(r *rig) map[string]string {
		out := map[string]string{}
		for name, m := range r.all() {
			key, value := make([]byte, m.KeySize()), any(new([]byte))
			if m.Type() == ebpf.PerCPUArray {
				value = new([][]byte)
			}
			var all []string
			it := m.Iterate()
			for it.Next(&key, value) {
				all = append(all, fmt.Sprint(key, reflect.ValueOf(value).Elem()))
			}
			require.NoError(t, it.Err())
			slices.Sort(all)
			out[name] = strings.Join(all, "\n")
		}
		return out
	}
	used := newRig(t)
	policy := testPolicy()
	policy.Keyed = []KeyedRule{{Prefix: netip.PrefixFrom(other4, 32), SSID: 7}, {SSID: 8}}
	require.NoError(t, used.setPolicy(policy))
	require.NoError(t, used.setInterface(testIfindex+1, []net.HardwareAddr{peerMAC[:]}, true))
	for _, src := range []netip.Addr{peer4, guest4, other4} {
		for kind := range kinds {
			req := request(false)
			req.src = src
			used.run(kinds[kind].kind, req.bytes())
		}
	}
	anew := newRigOf(t, func(*ebpf.CollectionSpec) {})
	require.NotEqual(t, content(anew)["llama_reason"], content(used)["llama_reason"])
	state := func(r *rig) (string, map[string]string) {
		r.setClock(ClockState{Estimate: estimate, WallMinusMono: 1})
		require.NoError(t, r.setLease(1))
		return fmt.Sprint(r.lease, r.config), content(r)
	}
	wantKept, want := state(anew)
	kept, got := state(newRig(t))
	require.Equal(t, wantKept, kept)
	require.Equal(t, want, got)
}
