//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// testBrand keeps other processes' Sweep away from what these tests make.
const testBrand = "sweeptest"

func TestSweepTakesOnlyTheDead(t *testing.T) {
	Require(t, Namespaces)
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	start, err := startTime(os.Getpid())
	require.NoError(t, err)
	names := map[string]bool{ // name: survives
		fmt.Sprintf(testBrand+"-%d-%d-00000000-h1", gone.Process.Pid, start):   false,
		fmt.Sprintf(testBrand+"-%d-%d-00000000-h1", os.Getpid(), start+1):      false, // the pid was given out again
		fmt.Sprintf(testBrand+"-%d-%d-00000000-fabric", os.Getpid(), start):    true,
		fmt.Sprintf("other-%d-%d-00000000-h1", gone.Process.Pid, start):        true,
		fmt.Sprintf(testBrand+"-%d-%d-000000000-x", gone.Process.Pid, start+1): true, // not as we name them
	}
	for name := range names {
		n, err := newNamespace(name)
		require.NoError(t, err)
		t.Cleanup(func() { _ = n.close() })
	}
	require.NoError(t, sweep(testBrand))
	for name, survives := range names {
		_, err := os.Stat(filepath.Join(netnsDir, name))
		require.Equal(t, survives, err == nil, name)
	}
}

func TestSweepKillsOrphans(t *testing.T) {
	Require(t, Namespaces)
	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	n, err := newNamespace(fmt.Sprintf(testBrand+"-%d-1-00000000-h1", gone.Process.Pid))
	require.NoError(t, err)
	defer n.close()
	h := &Host{ns: n}
	orphan := h.Command(t.Context(), "sleep", "60")
	require.NoError(t, orphan.Start())
	waitInside(t, orphan.Process.Pid, h)
	require.NoError(t, sweep(testBrand))
	require.EqualError(t, orphan.Wait(), "signal: killed")
}
