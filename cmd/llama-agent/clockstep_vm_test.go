//go:build vm

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const steppedConfig = `
host: {name: prober}
datapath: {mode: tc, interfaces: [lo], pin: %s}
reflector: {listen: ["127.0.0.1:862", "[::1]:862"]}
probing: {ports: 2, interval: 50ms, timeout: 200ms, late: 400ms, window: 2s}
targets: {four: {address: 127.0.0.1}, six: {address: "::1"}}
sinks: [{file: {path: %s}}]
`

// The wall clock is stepped, forwards and backwards, while an agent measures in the kernel: no round trip has any of it,
// nothing is lost, and no two points share tags and time.
func TestRealClockStepsInTheKernel(t *testing.T) {
	if os.Getenv("LLAMA_VM") != "1" {
		t.Fatal("sets the clock of the machine: only in a guest of scripts/vm-test, which sets LLAMA_VM=1")
	}
	steps := []time.Duration{time.Hour, -time.Hour - 8*time.Second, 8 * time.Second}
	config, output := filepath.Join(t.TempDir(), "agent.yaml"), filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, steppedConfig, "/sys/fs/bpf/llama-steps", output), 0o600))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"run", "--config", config}, io.Discard, os.Stderr) }()
	defer stop()
	written := func(atLeast int) (n int) {
		require.Eventually(t, func() bool {
			b, _ := os.ReadFile(output) // not there at first
			n = strings.Count(string(b), "llama_path,")
			return n >= atLeast
		}, 3*time.Minute, 50*time.Millisecond)
		return n
	}
	for _, by := range steps {
		written(written(4) + 4)
		now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
		require.NoError(t, unix.ClockSettime(unix.CLOCK_REALTIME, &now))
	}
	written(written(4) + 8)
	stop()
	require.Zero(t, <-done)

	b, err := os.ReadFile(output)
	require.NoError(t, err)
	seen := map[string]bool{}
	var sent, received int64
	var own map[string]lineprotocol.Value
	for d := lineprotocol.NewDecoderWithBytes(b); d.Next(); {
		series, fields := steppedLine(t, d)
		require.False(t, seen[series], "two lines of %s", series)
		seen[series] = true
		if strings.HasPrefix(series, "llama_agent") {
			own = fields
			continue
		}
		require.Contains(t, series, "clock=kernel")
		sent += fields["sent"].IntV()
		received += fields["received"].IntV()
		for _, name := range []string{"rtt_max_us", "responder_p99_us", "send_late_p99_us"} {
			require.Contains(t, fields, name)
			require.Less(t, fields[name].FloatV(), 1e6, "%s of %s", name, series)
		}
	}
	require.Greater(t, sent, int64(200))
	require.Equal(t, sent, received, "a step loses nothing")
	require.EqualValues(t, len(steps), own["collector_clock_steps"].IntV())
	require.Equal(t, received, own["kernel_captured"].IntV())
	require.Zero(t, own["collector_reply_bad_stamps"].IntV(), "each has a round trip")
}

// steppedLine returns measurement, tags and time of a line, and its fields.
func steppedLine(t *testing.T, d *lineprotocol.Decoder) (series string, fields map[string]lineprotocol.Value) {
	m, err := d.Measurement()
	require.NoError(t, err)
	series, fields = string(m), map[string]lineprotocol.Value{}
	for {
		k, v, err := d.NextTag()
		require.NoError(t, err)
		if k == nil {
			break
		}
		series += "," + string(k) + "=" + string(v)
	}
	for {
		k, v, err := d.NextField()
		require.NoError(t, err)
		if k == nil {
			break
		}
		fields[string(k)] = v
	}
	at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
	require.NoError(t, err)
	return series + " " + at.String(), fields
}
