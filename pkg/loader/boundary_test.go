//go:build linux

package loader

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
)

// Go must read the records as C has laid them out: no hole, no other size.
func TestRecordsHaveNoHoles(t *testing.T) {
	spec, err := loadBpf()
	require.NoError(t, err)
	sizes := map[string]uintptr{
		"llama_addr":     unsafe.Sizeof(bpfLlamaAddr{}),
		"llama_config":   unsafe.Sizeof(bpfLlamaConfig{}),
		"llama_gsource":  unsafe.Sizeof(bpfLlamaGsource{}),
		"llama_iface":    unsafe.Sizeof(bpfLlamaIface{}),
		"llama_flow":     unsafe.Sizeof(bpfLlamaFlow{}),
		"llama_flow_key": unsafe.Sizeof(bpfLlamaFlowKey{}),
		"llama_slot":     unsafe.Sizeof(bpfLlamaSlot{}),
		"llama_ifstat":   unsafe.Sizeof(bpfLlamaIfstat{}),
		"llama_key":      unsafe.Sizeof(bpfLlamaKey{}),
		"llama_lease":    unsafe.Sizeof(bpfLlamaLease{}),
		"llama_lpm4":     unsafe.Sizeof(bpfLlamaLpm4{}),
		"llama_lpm6":     unsafe.Sizeof(bpfLlamaLpm6{}),
		"llama_session":  unsafe.Sizeof(bpfLlamaSession{}),
		"llama_source":   unsafe.Sizeof(bpfLlamaSource{}),
	}
	for _, v := range []any{
		bpfLlamaAddr{}, bpfLlamaConfig{}, bpfLlamaGsource{}, bpfLlamaIface{}, bpfLlamaIfstat{}, bpfLlamaKey{},
		bpfLlamaLease{}, bpfLlamaLpm4{}, bpfLlamaLpm6{}, bpfLlamaSession{}, bpfLlamaSource{},
		bpfLlamaFlow{}, bpfLlamaFlowKey{}, bpfLlamaSlot{}, bpfLlamaEvent{},
	} {
		require.EqualValues(t, reflect.TypeOf(v).Size(), binary.Size(v), "%T", v)
	}
	seen := make(map[string]bool)
	for name, m := range spec.Maps {
		require.LessOrEqual(t, len(name), 15, "the kernel cuts %s", name)
		for _, typ := range []btf.Type{m.Key, m.Value} {
			s, ok := typ.(*btf.Struct)
			if !ok {
				continue
			}
			require.Contains(t, sizes, s.Name, "of map %s", name)
			require.EqualValues(t, s.Size, sizes[s.Name], s.Name)
			seen[s.Name] = true
		}
	}
	require.Len(t, seen, len(sizes), "a type is in no map")
}

// The names must be as many as C's constants, and be those.
func TestNamesFollowC(t *testing.T) {
	spec, err := loadBpf()
	require.NoError(t, err)
	for _, c := range []struct {
		enum, prefix, variable string
		names                  []string
	}{
		{"llama_reason", "REASON_", bpfVarLlamaReasons, reasonNames[:]},
		{"llama_action", "ACTION_", bpfVarLlamaActions, actionNames[:]},
	} {
		var e *btf.Enum
		require.NoError(t, spec.Types.TypeByName(c.enum, &e))
		var n uint32
		require.NoError(t, spec.Variables[c.variable].Get(&n))
		require.Len(t, c.names, int(n))
		for _, v := range e.Values {
			if name, ok := strings.CutPrefix(v.Name, c.prefix); ok {
				require.Equal(t, strings.ToLower(name), c.names[v.Value])
			}
		}
	}
	require.EqualValues(t, len(reasonNames)*len(actionNames), spec.Maps[bpfMapLlamaReason].MaxEntries)
}

// Flags that Go has once more.
func TestConstantsFollowC(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.setPolicy(&Policy{
		Ports: []uint16{1}, Allow: testPolicy().Allow[:1], Peers: testPolicy().Peers[:1],
		Keyed: []KeyedRule{{Prefix: prefix("10.0.0.0/24")}}, PeerRate: 1, StrangerRate: 1, SessionsPerPeer: 1,
	}))
	v4, err := entries[bpfLlamaLpm4, uint32](r.LlamaAllow4)
	require.NoError(t, err)
	require.Equal(t, map[bpfLlamaLpm4]uint32{
		{Prefixlen: 8, Octets: [4]byte{10}}:  1,
		{Prefixlen: 24, Octets: [4]byte{10}}: 1 | 2 | 4,
	}, v4)
}
