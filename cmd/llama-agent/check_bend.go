package main

import (
	"fmt"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
)

// bends is what bends figures on every interface.
func (h *hostCheck) bends() []finding {
	cpu := hostinfo.ReadCPU()
	out := []finding{checkSleep(cpu)}
	if cpu.Governor != "" {
		out = append(out, checkGovernor(cpu))
	}
	return append(out, checkConntrack(hostinfo.ReadConntrack(), flows(h.cfg)), finding{Name: "firewall", OK: true,
		Detail: "what the kernel datapath answers meets no input or output rule of this host, and with XDP no queue: reflector.allow is what bounds it"},
		checkFirewall(h.cfg))
}

// wakeLimit is the wake-up time that hides in the scatter of a network's RTTs.
const wakeLimit = 10 * time.Microsecond

func checkSleep(c hostinfo.CPU) finding {
	f := finding{Name: "sleep states", OK: true, Data: c}
	switch {
	case c.Deepest == nil && c.IdleDriver == "":
		f.Detail = "this kernel manages none (in a virtual machine the hypervisor does, unseen from here)"
	case c.Deepest == nil:
		f.Detail = "all are switched off"
	default:
		f.Detail = fmt.Sprintf("deepest %s, %s to wake up (%s)", c.Deepest.Name, c.Deepest.Latency, c.IdleDriver)
		if f.OK = c.Deepest.Latency <= wakeLimit; !f.OK {
			f.Detail += ": at low rates that is in software stamps and in the answer of a socket"
			f.Mend = fmt.Sprintf("for steadier figures, and more power: cpupower idle-set -D %d", wakeLimit/time.Microsecond)
		}
	}
	if c.Limit != nil {
		f.Detail += fmt.Sprintf("; a program holds them to %s", *c.Limit)
	}
	return f
}

func checkGovernor(c hostinfo.CPU) finding {
	f := finding{Name: "frequency", OK: c.Governor == "performance", Detail: fmt.Sprintf("governor %s (%s)", c.Governor, c.FreqDriver)}
	if !f.OK {
		f.Detail += ": an idle CPU starts slowly, which is in software stamps at low rates"
		f.Mend = "for steadier figures, and more power: cpupower frequency-set -g performance"
	}
	return f
}

// flows is how many entries of connection tracking our probes need at most: one
// a source port and destination, whatever the rate, since every probe of a flow
// renews it.
func flows(cfg *config.Config) (n int) {
	for _, t := range cfg.Targets {
		ports := cfg.Probing.Ports
		if !t.SSID {
			ports *= len(cfg.Probing.Classes) // ports of its own for each class
		}
		if cfg.Probing.Family == config.FamilyBoth {
			ports *= 2
		}
		n += ports
	}
	return n
}

func checkConntrack(c *hostinfo.Conntrack, flows int) finding {
	if c == nil {
		return finding{Name: "conntrack", OK: true, Detail: "not in this kernel: no probe is tracked"}
	}
	f := finding{Name: "conntrack", Data: c, OK: c.Count+flows <= c.Max*3/4,
		Detail: fmt.Sprintf("%d of %d entries used; probes of this configuration need up to %d, which last %s (replies that XDP takes are not seen there)",
			c.Count, c.Max, flows, c.UDPTimeout)}
	if !f.OK {
		f.Detail += ": a full table drops probes and other traffic"
		f.Mend = `leave probes untracked (nftables: udp dport 862 notrack, docs/operating.md "Connection tracking"), or raise net.netfilter.nf_conntrack_max`
	}
	return f
}
