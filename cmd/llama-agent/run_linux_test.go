package main

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
)

// Who has to fall back to port 8620 hears of the windows as others do: in tables, and as
// Telegraf's.
func TestFallBackPrints(t *testing.T) {
	pid := os.Getpid() // an address of our own, so that others have not its port 8620
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 86, byte(pid>>8), byte(pid))})
	require.NoError(t, err)
	defer taken.Close()
	for name, tables := range map[string]bool{"tables": true, "telegraf": false} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			cfg.Reflector.Listen = []netip.AddrPort{taken.LocalAddr().(*net.UDPAddr).AddrPort()}
			cfg.Targets, cfg.API.Listen, cfg.Datapath.Pin = nil, "", t.TempDir()
			cfg.Probing.Timing.Window = time.Hour
			if !tables {
				toTelegraf(cfg)
			}
			var out bytes.Buffer
			a := &agent{log: slog.New(slog.DiscardHandler), stdout: &out, tables: tables}
			a.followLists()
			defer a.discovered.Close()
			require.NoError(t, beginOrFallBack(t.Context(), a, cfg, true))
			require.EqualValues(t, 8620, a.reflector.Addrs()[0].Port())
			a.window(&probe.Window{End: time.Now(), Paths: []probe.Path{{Dst: "there", Class: probe.Class{Name: "be"}, Family: 4, Clock: probe.ClockUser, Counts: probe.Counts{Sent: 1, Lost: 1, LostUnsplit: 1}}}})
			require.NoError(t, a.end())
			require.Contains(t, out.String(), "there")
		})
	}
}
