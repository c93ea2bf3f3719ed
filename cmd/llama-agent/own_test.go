package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/pkg/loader"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

func valuesOf(fields []sink.AgentField) map[string]float64 {
	out := map[string]float64{}
	for _, f := range fields {
		out[f.Name] = float64(f.Int) + f.Float
	}
	return out
}

func TestOwnFields(t *testing.T) {
	var o own
	got := valuesOf(o.fields())
	for _, unknown := range []string{"config_hash", "config_loaded_timestamp_seconds", "process_cpu_cores", "probes_send_late_p99_us"} {
		require.NotContains(t, got, unknown)
	}
	require.Equal(t, 1.0, got["config_last_reload_ok"], "there was none")

	o.loaded(&config.Config{Hash: 1<<48 - 1})
	var late, other probe.Hist
	late.Record(1_000_000)
	other.Record(9_000_000)
	w := &probe.Window{Paths: []probe.Path{
		{Clock: probe.ClockKernel, Counts: probe.Counts{Sent: 7, Received: 5, Lost: 2, LostForward: 2, HostDrops: 3}, SendLate: late},
		{Clock: probe.ClockMixed, Counts: probe.Counts{Sent: 1, Late: 1, NotSent: 4}, SendLate: other},
	}}
	o.window(w)
	o.window(w)
	for _, outcome := range []reloadOutcome{reloadDone, reloadPartial, reloadRefused, reloadRefused} {
		o.reloaded(outcome)
	}
	got = valuesOf(o.fields())
	for name, want := range map[string]float64{
		"windows": 2, "probes_sent": 16, "probes_received": 10, "probes_late": 2, "probes_lost": 4, "probes_lost_forward": 4, "probes_not_sent": 8,
		"probes_send_late_max_us": 1000, "config_hash": 281474976710655,
		"config_reloads_done": 1, "config_reloads_partial": 1, "config_reloads_refused": 2, "config_last_reload_ok": 0,
	} {
		require.Equal(t, want, got[name], name)
	}
	require.Positive(t, got["process_cpu_seconds"])
	require.Positive(t, got["process_resident_bytes"])
	require.Contains(t, got, "process_cpu_cores")
}

func TestClockFields(t *testing.T) {
	require.Equal(t, map[string]float64{"clock_synchronised": 0}, valuesOf(clockFields(sock.ClockQuality{MaxError: -1, EstError: -1})))
	require.Equal(t, map[string]float64{"clock_synchronised": 1, "clock_max_error_us": 2.5, "clock_est_error_us": 0.5, "clock_offset_us": -1.5},
		valuesOf(clockFields(sock.ClockQuality{Synchronized: true, MaxError: 2500, EstError: 500, Offset: -1500})))
}

// Two interfaces whose names are alike as fields are one field: a second would spoil the line.
func TestStepFields(t *testing.T) {
	require.Equal(t, []sink.AgentField{sink.AgentInt("interface_eth0_1_step", 2), sink.AgentInt("interface_eth1_step", 4)},
		stepFields([]loader.InterfaceState{{Name: "eth0.1", Step: loader.StepTC}, {Name: "eth0_1", Step: loader.StepNative}, {Name: "eth1", Step: loader.StepSocket}}))
}
