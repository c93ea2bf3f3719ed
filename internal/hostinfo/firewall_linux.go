package hostinfo

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Obstacle is a chain of this host's firewall that may drop UDP of some port.
type Obstacle struct {
	Chain string   `json:"chain"` // family, table, chain, as nft writes them
	Hook  string   `json:"hook,omitempty"`
	Port  uint16   `json:"port,omitempty"` // which a rule of it drops or rejects; 0: its policy drops
	Rules []uint64 `json:"rules,omitempty"`
}

// Firewall is what stands in the way of UDP to and from these ports.
type Firewall struct {
	Obstacles []Obstacle `json:"obstacles,omitempty"`
	// Legacy are the tables of the older iptables, whose rules are not looked into.
	Legacy []string `json:"legacy,omitempty"`
}

// hookNames are the hooks that a host's own packets pass, by family kind.
var hookNames = map[nftables.ChainHook]string{
	*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookInput: "input",
	*nftables.ChainHookOutput: "output", *nftables.ChainHookPostrouting: "postrouting",
}

var familyNames = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
}

// ReadFirewall looks for base chains whose policy is to drop and whose table has no rule that accepts one of the
// ports, and for rules that name one and drop or reject. Rules that name no port, such as those of addresses, are
// not judged; iptables' own are seen where it is iptables-nft. It needs CAP_NET_ADMIN.
func ReadFirewall(ports []uint16) (Firewall, error) {
	var f Firewall
	for _, file := range []string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"} {
		if b, err := os.ReadFile(file); err == nil {
			f.Legacy = append(f.Legacy, strings.Fields(string(b))...)
		}
	}
	slices.Sort(f.Legacy)
	f.Legacy = slices.Compact(f.Legacy)
	conn, err := nftables.New()
	if err != nil {
		return f, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return f, fmt.Errorf("list the chains of nftables: %w", err)
	}
	accepted := map[string]bool{} // tables with a rule that lets one of the ports pass
	var policies []Obstacle
	for _, c := range chains {
		family, ok := familyNames[c.Table.Family]
		if !ok {
			continue
		}
		table := family + " " + c.Table.Name
		o := Obstacle{Chain: table + " " + c.Name}
		if c.Hooknum != nil {
			o.Hook = hookNames[*c.Hooknum]
			if o.Hook == "" {
				continue // what is forwarded is not ours
			}
			if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				policies = append(policies, o)
			}
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return f, fmt.Errorf("list the rules of %s: %w", o.Chain, err)
		}
		drops := map[uint16][]uint64{}
		for _, r := range rules {
			port, verdict := readRule(conn, c.Table, r, ports)
			switch {
			case port == 0:
			case verdict == ruleDrops:
				drops[port] = append(drops[port], r.Handle)
			case verdict == rulePasses:
				accepted[table] = true
			}
		}
		for port, handles := range drops {
			o.Port, o.Rules = port, handles
			f.Obstacles = append(f.Obstacles, o)
		}
	}
	for _, o := range policies {
		if !accepted[o.Chain[:strings.LastIndexByte(o.Chain, ' ')]] {
			f.Obstacles = append(f.Obstacles, o)
		}
	}
	slices.SortFunc(f.Obstacles, func(a, b Obstacle) int {
		return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Port, b.Port))
	})
	return f, nil
}

type ruleVerdict uint8

const (
	ruleGoesOn ruleVerdict = iota
	ruleDrops
	rulePasses
)

// readRule returns the port of ours that the rule names, 0 for none, and what it does.
func readRule(conn *nftables.Conn, table *nftables.Table, r *nftables.Rule, ports []uint16) (port uint16, v ruleVerdict) {
	var protocol byte // 0 for any
	named := func(from, to uint16) {
		if i := slices.IndexFunc(ports, func(p uint16) bool { return from <= p && p <= to }); i >= 0 {
			port = ports[i]
		}
	}
	var loads string // what the register holds
	var from uint16
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			loads = map[bool]string{true: "protocol"}[e.Key == expr.MetaKeyL4PROTO]
		case *expr.Payload:
			isPort := e.Base == expr.PayloadBaseTransportHeader && e.Len == 2 && (e.Offset == 0 || e.Offset == 2)
			loads = map[bool]string{true: "port"}[isPort]
		case *expr.Cmp:
			switch {
			case loads == "protocol" && e.Op == expr.CmpOpEq && len(e.Data) == 1:
				protocol = e.Data[0]
			case loads == "port" && len(e.Data) == 2:
				at := binary.BigEndian.Uint16(e.Data)
				switch e.Op { // other comparisons leave ports out
				case expr.CmpOpEq:
					named(at, at)
				case expr.CmpOpGte:
					from = at
				case expr.CmpOpLte:
					named(from, at)
				}
			}
		case *expr.Range:
			if loads == "port" && e.Op == expr.CmpOpEq && len(e.FromData) == 2 && len(e.ToData) == 2 {
				named(binary.BigEndian.Uint16(e.FromData), binary.BigEndian.Uint16(e.ToData))
			}
		case *expr.Lookup:
			if loads == "port" && !e.Invert {
				for _, p := range setPorts(conn, table, e) {
					named(p, p)
				}
			}
		case *expr.Match: // of iptables-nft
			if u, ok := e.Info.(*xt.Udp); ok && u.InvFlags == 0 {
				protocol = unix.IPPROTO_UDP
				for _, p := range [][2]uint16{u.SrcPorts, u.DstPorts} {
					if p != [2]uint16{0, 0xffff} {
						named(p[0], p[1])
					}
				}
			}
		case *expr.Reject:
			v = ruleDrops
		case *expr.Target:
			if e.Name == "REJECT" || e.Name == "DROP" {
				v = ruleDrops
			}
		case *expr.Verdict:
			switch e.Kind {
			case expr.VerdictDrop:
				v = ruleDrops
			case expr.VerdictAccept:
				v = rulePasses
			}
		}
	}
	if protocol != 0 && protocol != unix.IPPROTO_UDP {
		return 0, ruleGoesOn
	}
	return port, v
}

// setPorts returns a set's single ports, and the ends of its intervals.
func setPorts(conn *nftables.Conn, table *nftables.Table, l *expr.Lookup) (out []uint16) {
	elements, err := conn.GetSetElements(&nftables.Set{Table: table, Name: l.SetName, ID: l.SetID})
	if err != nil {
		return nil
	}
	for _, e := range elements {
		if len(e.Key) == 2 && !e.IntervalEnd {
			out = append(out, binary.BigEndian.Uint16(e.Key))
		}
	}
	return out
}
