//go:build linux

package lab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCableHasNoFabricOnIt(t *testing.T) {
	l := ForTest(t, 2)
	cable, err := l.Cable(l.Host(1), l.Host(2))
	require.NoError(t, err)
	echo(t, l.Host(2))
	tap, err := l.Fabric().Tap(l.Host(1))
	require.NoError(t, err)
	require.Equal(t, 5, exchange(t, dial(t, l.Host(1), cable.B), 5, time.Second))
	require.Equal(t, 5, exchange(t, dial(t, l.Host(1), l.Host(2).IPv4), 5, time.Second), "the way by the fabric stays")
	records, err := tap.Stop()
	require.NoError(t, err)
	require.Len(t, records, 10, "requests and replies of the second exchange only")
	_, err = l.Cable(l.Host(1), l.Host(2))
	require.Error(t, err, "there is one already")
}
