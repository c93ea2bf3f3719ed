package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/loader"
)

// pingKernel is ping's part in the kernel; nil where the sockets do it all.
type pingKernel struct{ *loader.Measurement }

// startKernel has the options measure in the kernel, if the mode asks for it. In mode
// auto that it cannot be had is no error, and the clock of the result says it.
func (f *pingFlags) startKernel(ctx context.Context, o *collector.Options) (*pingKernel, error) {
	mode, err := loader.ParseMode(f.mode)
	if err != nil || mode == loader.ModeSocket {
		return nil, err
	}
	step := mode
	if mode == loader.ModeAuto {
		step = loader.ModeTC // disturbs nothing
	}
	flows := 2 * len(o.Plan.Targets) * len(o.Plan.Classes) * o.Plan.Count
	m, err := loader.StartMeasurement(ctx, step, addressesOf(ctx, o), o.Device, loader.ProbeOptions{
		Flows: flows, InFlight: collector.InFlight(o.Timing), Rate: float64(flows) / o.Timing.Interval.Seconds(),
		First: 1024, Last: 65535, // the kernel chooses the ports
	})
	switch {
	case err == nil:
		o.Kernel = m.Probes()
		return &pingKernel{m}, nil
	case mode == loader.ModeAuto:
		return nil, nil
	}
	return nil, fmt.Errorf("measure in the kernel: %w", err)
}

// addressesOf are those of the targets; one that cannot be resolved is reported by
// the collector.
func addressesOf(ctx context.Context, o *collector.Options) (out []netip.Addr) {
	for _, t := range o.Plan.Targets {
		addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Address)
		for _, a := range addrs {
			out = append(out, a.Unmap())
		}
	}
	return out
}

func (k *pingKernel) stop() error {
	if k == nil {
		return nil
	}
	return k.Close()
}
