//go:build linux

package hostinfo

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	before, err := ReadUsage()
	require.NoError(t, err)
	const size = 64 << 20
	room := make([]byte, size)
	for i := range room {
		room[i] = byte(i) // so that there is a page for each
	}
	after, err := ReadUsage()
	require.NoError(t, err)
	require.Greater(t, after.CPU, before.CPU)
	require.Greater(t, after.Resident, int64(size))
	runtime.KeepAlive(room)
}
