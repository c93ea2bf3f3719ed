package collector

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The table answers as a map would, whatever was put and removed.
func TestFlowTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table flowTable
		want := map[flowKey]*flow{}
		key := rapid.Custom(func(t *rapid.T) (k flowKey) {
			binary.BigEndian.PutUint16(k.addr[14:], rapid.Uint16Range(0, 30).Draw(t, "addr"))
			k.port, k.ssid, k.sock = 862, rapid.Uint16Range(0, 1).Draw(t, "ssid"), rapid.Uint32Range(1, 4).Draw(t, "sock")
			return k
		})
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			k := key.Draw(t, "key")
			if rapid.IntRange(0, 2).Draw(t, "do") == 0 {
				table.remove(k)
				delete(want, k)
				continue
			}
			f := &flow{path: &path{session: k}, sock: &socket{id: k.sock}}
			table.put(f)
			want[k] = f
		}
		require.Equal(t, len(want), table.n)
		for k, f := range want {
			require.Same(t, f, table.find(k))
		}
		for range 20 {
			k := key.Draw(t, "other")
			require.Same(t, want[k], table.find(k))
		}
	})
}

// Sessions that differ in one field do not crowd together.
func TestFlowTableSpreads(t *testing.T) {
	var table flowTable
	s := make([]socket, 33)
	for addr := range uint16(1000) {
		p := &path{}
		p.session.port, p.session.ssid = 862, 1
		binary.BigEndian.PutUint16(p.session.addr[14:], addr)
		for i := uint32(1); i < 33; i++ {
			s[i].id = i
			table.put(&flow{path: p, sock: &s[i]})
		}
	}
	most, run := 0, 0
	for _, f := range table.at {
		if run++; f == nil {
			run = 0
		}
		most = max(most, run)
	}
	require.Less(t, most, 100, "longest run of a table half full")
}
