//go:build linux

package hostinfo

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// sysfsCPU lays out what a server's kernel shows; few machines that run tests have sleep states.
func sysfsCPU(t testing.TB, states ...[3]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
	}
	write("cpuidle/current_driver", "intel_idle")
	write("cpu0/cpufreq/scaling_governor", "powersave")
	write("cpu0/cpufreq/scaling_driver", "intel_pstate")
	for i, s := range states {
		state := fmt.Sprintf("cpu0/cpuidle/state%d/", i)
		write(state+"name", s[0])
		write(state+"latency", s[1])
		write(state+"disable", s[2])
	}
	return dir
}

func qosFile(t testing.TB, us int32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cpu_dma_latency")
	require.NoError(t, os.WriteFile(path, binary.NativeEndian.AppendUint32(nil, uint32(us)), 0o600))
	return path
}

func TestCPU(t *testing.T) {
	poll, c1, c6, c8 := [3]string{"POLL", "0", "0"}, [3]string{"C1", "2", "0"}, [3]string{"C6", "133", "0"}, [3]string{"C8", "600", "1"}
	sys := sysfsCPU(t, poll, c1, c6, c8)
	got := readCPU(sys, qosFile(t, noLimit))
	require.Equal(t, CPU{IdleDriver: "intel_idle", Governor: "powersave", FreqDriver: "intel_pstate",
		Deepest: &IdleState{"C6", 133 * time.Microsecond}}, got, "C8 is switched off")

	got = readCPU(sys, qosFile(t, 100))
	require.Equal(t, &IdleState{"C1", 2 * time.Microsecond}, got.Deepest, "a program allows no more than 100 µs")
	require.Equal(t, 100*time.Microsecond, *got.Limit)
	require.Equal(t, "POLL", readCPU(sys, qosFile(t, 0)).Deepest.Name, "0 is a limit")

	got = readCPU(sysfsCPU(t, [3]string{"C1", "2", "1"}), "/nowhere")
	require.Nil(t, got.Deepest)
	require.Nil(t, got.Limit)
}

func TestCPUOfAVirtualMachine(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "cpuidle"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cpuidle/current_driver"), []byte("none\n"), 0o600))
	require.Equal(t, CPU{}, readCPU(dir, "/nowhere"))
}

// TestLatencyLimitOfThisMachine asks the kernel for a limit, as tuned does, for as long as the file is open.
func TestLatencyLimitOfThisMachine(t *testing.T) {
	lab.Require(t, lab.Root)
	const path, us = "/dev/cpu_dma_latency", 3
	if limit := latencyLimit(path); limit != nil && *limit <= us*time.Microsecond {
		missing(t, "a machine without a tight latency limit", os.ErrExist)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		missing(t, path, err)
	}
	defer f.Close()
	_, err = f.Write(binary.NativeEndian.AppendUint32(nil, us))
	require.NoError(t, err)
	for range 2 { // looking does not change it
		limit := latencyLimit(path)
		require.NotNil(t, limit)
		require.Equal(t, us*time.Microsecond, *limit)
	}
}
