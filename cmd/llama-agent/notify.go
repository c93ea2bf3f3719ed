package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// notify tells the service manager (sd_notify(3)) how the agent is; without one it does nothing,
// and one that cannot be reached is its own trouble.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

func notifyReady() { notify(daemon.SdNotifyReady) }

// notifyReloading says when the reload began, which Type=notify-reload asks for (systemd 253).
func notifyReloading() {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // this clock is always there
	notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, t.Nano()/1000))
}

func notifyStopping() { notify(daemon.SdNotifyStopping) }

// notifyWindow shows the last window in `systemctl status`.
func notifyWindow(w *probe.Window) { notify("STATUS=" + windowStatus(w)) }

// windowStatus is a window in a line.
func windowStatus(w *probe.Window) string {
	var sum probe.Counts
	rtts := map[probe.Clock]*probe.Hist{} // those of different clocks never mix
	lossy := 0
	for i := range w.Paths {
		p := &w.Paths[i]
		sum.Add(&p.Counts)
		if rtts[p.Clock] == nil {
			rtts[p.Clock] = &probe.Hist{}
		}
		rtts[p.Clock].Merge(&p.RTT)
		if p.Lost > 0 {
			lossy++
		}
	}
	s := fmt.Sprintf("%s: %d paths, %d lossy; %d sent, %d lost, %d late, %d unreachable, %d not sent",
		w.End.Format(time.TimeOnly), len(w.Paths), lossy, sum.Sent, sum.Lost, sum.Late, sum.Unreachable, sum.NotSent)
	for _, clock := range slices.Sorted(maps.Keys(rtts)) {
		if r, ok := rtts[clock].Summary(); ok {
			s += fmt.Sprintf("; RTT (%s) p50 %s, p99 %s µs", clock, micros(r.P50), micros(r.P99))
		}
	}
	return s
}

// watchdog returns a ticker by which the service manager wants a sign of life (WatchdogSec), at half
// the time; nil if it wants none.
func watchdog() *time.Ticker {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return nil
	}
	return time.NewTicker(every / 2)
}

// alive gives the sign of life, if there is one: windows arrive. It is called by the loop that takes
// signals, so that one that hangs gives none either.
func (a *agent) alive() {
	if reasons := a.health(); len(reasons) > 0 {
		a.log.Error("no sign of life for the service manager", "reasons", reasons)
		return
	}
	notify(daemon.SdNotifyWatchdog)
}
