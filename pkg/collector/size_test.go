package collector

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// What there is half a million of is as small as docs/benchmarks.md says.
func TestSizeOfAFlow(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(flow{}), uintptr(96))
	require.LessOrEqual(t, unsafe.Sizeof(slot{}), uintptr(80))
	require.LessOrEqual(t, unsafe.Sizeof(flowWindow{}), uintptr(16))
}

// A flow has one slot only where the one before is forgotten well before the next.
func TestProbesInFlight(t *testing.T) {
	const late = int64(2e9)
	for interval, want := range map[int64]int{1e6: 2048, 1e9: 4, 2e9: 4, 4e9: 2, 5e9: 1, 60e9: 1} {
		require.Equal(t, want, inFlight(late, interval), "%d", interval)
	}
}
