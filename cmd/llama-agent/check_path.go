package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
)

// checkFirewall names what in the host's own rules may drop probes and answers.
func checkFirewall(cfg *config.Config) finding {
	f := finding{Name: "firewall rules", OK: true, Detail: "no chain of nftables drops or rejects the probes' ports by name or by policy"}
	fw, err := hostinfo.ReadFirewall(probePorts(cfg))
	f.Data = fw
	if err != nil {
		f.Detail = "unknown: " + err.Error()
		f.OK, f.Data = false, nil
		return f
	}
	var bad []string
	for _, o := range fw.Obstacles {
		switch {
		case o.Port > 0:
			bad = append(bad, fmt.Sprintf("%s drops UDP port %d (handle %d)", o.Chain, o.Port, o.Rules[0]))
		default:
			bad = append(bad, fmt.Sprintf("%s (%s) drops by policy, and no rule of its table accepts a port of ours", o.Chain, o.Hook))
		}
	}
	if len(bad) > 0 {
		f.OK, f.Detail = false, some(bad)+": what sockets send, answer and hear may be dropped there"
		f.Mend = "see: nft -a list ruleset; let UDP pass as docs/operating.md (Firewall) says"
	}
	if len(fw.Legacy) > 0 {
		f.Detail += fmt.Sprintf("; iptables (legacy) has rules that are not looked into: %s", strings.Join(fw.Legacy, ", "))
	}
	return f
}

// probePorts are the ports that probes go to, here and elsewhere.
func probePorts(cfg *config.Config) (out []uint16) {
	for _, l := range cfg.Reflector.Listen {
		out = append(out, l.Port())
	}
	for _, t := range cfg.Targets {
		out = append(out, t.Port)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkReversePath names targets whose packets the kernel would drop if they came by the interface.
func checkReversePath(name string, targets []netip.Addr) []finding {
	gone := hostinfo.FilteredByRoute(name, targets)
	if len(gone) == 0 {
		return nil
	}
	var list []string
	for _, a := range gone {
		list = append(list, a.String())
	}
	return []finding{{Name: "rp_filter", Interface: name,
		Detail: "strict: what comes from " + some(list) + " by this interface is dropped, since the route there leaves by another" +
			" (programs at XDP and TC come before it; sockets do not)",
		Mend: "sysctl net.ipv4.conf.all.rp_filter=2 net.ipv4.conf." + name + ".rp_filter=2, if the way back may differ"}}
}
