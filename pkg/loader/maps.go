//go:build linux

package loader

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// Maps prints the maps that are pinned in a folder, in words. It reads them as
// they are; programs write to them meanwhile. An error that is fs.ErrNotExist says
// that nothing is pinned there.
func Maps(pin string, w io.Writer) error {
	out := bufio.NewWriter(w)
	slots := slotNames{}
	for _, m := range []struct {
		name  string
		print func(*ebpf.Map, io.Writer) error
	}{
		{"llama_lease", printLease},
		{"llama_config", printConfig},
		{"llama_iface", slots.printInterfaces},
		{"llama_ifstat", slots.printCounters},
		{"llama_local", printLocal},
		{"llama_allow4", printAllow4},
		{"llama_allow6", printAllow6},
		{"llama_keyed", printKeyed},
		{"llama_peer", printSessions},
		{"llama_guest", printSessions},
		{"llama_source", printSources},
		{"llama_gsource", printStrangers},
		{"llama_socket", printSockets},
		{"llama_flow", printFlows},
		{"llama_slot", printSlots},
		{"llama_reason", printReasons},
	} {
		if err := printPinned(filepath.Join(pin, m.name), m.name, out, m.print); err != nil {
			return err
		}
	}
	return out.Flush()
}

func printPinned(path, name string, out io.Writer, print func(*ebpf.Map, io.Writer) error) error {
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no map at %s: no agent reflects in the kernel with this pin folder: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return explain(fmt.Errorf("open map %s: %w", path, err))
	}
	defer m.Close()
	fmt.Fprintf(out, "%s\n", name)
	if err := print(m, out); err != nil {
		return fmt.Errorf("read map %s: %w", name, err)
	}
	return nil
}

func printLease(m *ebpf.Map, w io.Writer) error {
	var l bpfLlamaLease
	if err := m.Lookup(uint32(0), &l); err != nil {
		return err
	}
	switch left := time.Duration(int64(l.UntilNs) - monoNow()); {
	case l.UntilNs == 0:
		fmt.Fprintln(w, "  disarmed: everything passes")
	case left <= 0:
		fmt.Fprintf(w, "  run out %s ago: everything passes\n", -left.Round(time.Second))
	default:
		fmt.Fprintf(w, "  armed for %s\n", left.Round(time.Second))
	}
	format := "NTP"
	if l.Ptp != 0 {
		format = fmt.Sprintf("PTPv2, TAI %d s ahead", l.TaiOffsetS)
	}
	fmt.Fprintf(w, "  wall clock %s, stamps %s, error estimate 0x%04x\n",
		time.Unix(0, monoNow()+l.WallOffsetNs).UTC().Format(time.RFC3339Nano), format, be16(l.ErrorEstimate))
	return nil
}

func printConfig(m *ebpf.Map, w io.Writer) error {
	var c bpfLlamaConfig
	if err := m.Lookup(uint32(0), &c); err != nil {
		return err
	}
	rate := func(interval uint64) uint64 {
		if interval == 0 {
			return 0
		}
		return 1e9 / interval
	}
	fmt.Fprintf(w, "  ports %s; refused as source ports %s\n", portList(c.Ports[:c.Nports]), portList(c.Refused[:c.Nrefused]))
	fmt.Fprintf(w, "  packets/s: a peer %d, a stranger %d; sessions of a peer %d; at least %d octets\n",
		rate(c.PeerRate.IntervalNs), rate(c.StrangerRate.IntervalNs), c.SessionsPerPeer, c.MinLen)
	if c.ProbesFirst != 0 {
		fmt.Fprintf(w, "  probes of this host leave from ports %d to %d\n", c.ProbesFirst, c.ProbesLast)
	}
	if c.LegacyPort != 0 {
		fmt.Fprintf(w, "  port %d answers the probes of Dropbox's LLAMA\n", be16(c.LegacyPort))
	}
	if c.Allow862 != 0 {
		fmt.Fprintln(w, "  source port 862 is answered")
	}
	if c.DenyDscp != 0 {
		fmt.Fprintf(w, "  DSCPs that may not be asked for: bits 0x%016x\n", c.DenyDscp)
	}
	return nil
}

func portList(ports []uint16) string {
	var out []string
	for _, p := range ports {
		out = append(out, fmt.Sprint(be16(p)))
	}
	return strings.Join(out, " ")
}

func interfaceName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return fmt.Sprintf("interface %d (not in this namespace)", index)
}

// slotNames are the interfaces by the slot that their counters have.
type slotNames map[uint32]string

func (s slotNames) printInterfaces(m *ebpf.Map, w io.Writer) error {
	return each(m, func(index uint32, v bpfLlamaIface) {
		var macs []string
		for _, mac := range v.Macs[:min(int(v.Nmacs), maxMACs)] {
			macs = append(macs, net.HardwareAddr(mac.Octets[:]).String())
		}
		s[v.Slot] = interfaceName(index)
		fmt.Fprintf(w, "  %s: %s\n", s[v.Slot], strings.Join(macs, " "))
	})
}

func (s slotNames) printCounters(m *ebpf.Map, w io.Writer) error {
	for _, slot := range slices.Sorted(maps.Keys(s)) {
		var cpus []bpfLlamaIfstat
		if err := m.Lookup(slot, &cpus); err != nil {
			return err
		}
		c := addCounters(cpus)
		fmt.Fprintf(w, "  %s: seen %d, answered %d, passed up %d, dropped %d\n", s[slot], c.Seen, c.Answered, c.PassedUp, c.Dropped)
	}
	return nil
}

func printLocal(m *ebpf.Map, w io.Writer) error {
	return each(m, func(a bpfLlamaAddr, flags uint32) {
		what := ""
		if flags&localUnicast == 0 {
			what = " (broadcast)"
		}
		fmt.Fprintf(w, "  %s%s\n", address(a), what)
	})
}

func address(a bpfLlamaAddr) netip.Addr { return netip.AddrFrom16(a.Octets).Unmap() }

func printAllow4(m *ebpf.Map, w io.Writer) error {
	return each(m, func(k bpfLlamaLpm4, v uint32) {
		fmt.Fprintf(w, "  %s %s\n", netip.PrefixFrom(netip.AddrFrom4(k.Octets), int(k.Prefixlen)), verdictText(v))
	})
}

func printAllow6(m *ebpf.Map, w io.Writer) error {
	return each(m, func(k bpfLlamaLpm6, v uint32) {
		fmt.Fprintf(w, "  %s %s\n", netip.PrefixFrom(netip.AddrFrom16(k.Octets), int(k.Prefixlen)), verdictText(v))
	})
}

func verdictText(v uint32) string {
	text := "not allowed"
	switch {
	case v&verdictPeer != 0:
		text = "peer"
	case v&verdictAllowed != 0:
		text = "stranger, allowed"
	}
	if v&verdictKeyed != 0 {
		text += ", may have to authenticate: to the sockets"
	}
	return text
}

func printKeyed(m *ebpf.Map, w io.Writer) error {
	return each(m, func(ssid uint16, _ uint8) {
		fmt.Fprintf(w, "  SSID %d: to the sockets\n", be16(ssid))
	})
}

func printSessions(m *ebpf.Map, w io.Writer) error {
	return each(m, func(k bpfLlamaKey, s bpfLlamaSession) {
		path := "kernel"
		if s.Flags&sessionUp != 0 {
			path = "sockets"
		}
		fmt.Fprintf(w, "  %s > %s ssid %d: received %d, answered %d, last %s ago, by %s\n",
			netip.AddrPortFrom(address(k.Src), be16(k.Sport)), netip.AddrPortFrom(address(k.Dst), be16(k.Dport)), be16(k.Ssid),
			s.Rx, s.Tx, since(s.SeenNs), path)
	})
}

func since(monoNs uint64) time.Duration {
	return max(0, time.Duration(monoNow()-int64(monoNs))).Round(time.Millisecond)
}

func printSources(m *ebpf.Map, w io.Writer) error {
	return each(m, func(a bpfLlamaAddr, s bpfLlamaSource) {
		if a == crowd {
			fmt.Fprintln(w, "  all that are answered without a session")
			return
		}
		fmt.Fprintf(w, "  %s: %d sessions\n", address(a), s.Sessions)
	})
}

func printStrangers(m *ebpf.Map, w io.Writer) error {
	return each(m, func(a bpfLlamaAddr, s bpfLlamaGsource) {
		fmt.Fprintf(w, "  %s: last %s ago\n", address(a), since(s.TatNs))
	})
}

func printSockets(m *ebpf.Map, w io.Writer) error {
	return each(m, func(cookie uint64, _ uint8) { fmt.Fprintf(w, "  cookie %d\n", cookie) })
}

func printFlows(m *ebpf.Map, w io.Writer) error {
	return each(m, func(k bpfLlamaFlowKey, f bpfLlamaFlow) {
		fmt.Fprintf(w, "  port %d > %s ssid %d: slots %d to %d\n", be16(k.Sport), netip.AddrPortFrom(address(k.Dst), be16(k.Dport)),
			be16(k.Ssid), f.First, f.First+f.Mask)
	})
}

// printSlots says how many hold a probe: one by one they are too many to read.
func printSlots(m *ebpf.Map, w io.Writer) error {
	used, lost := 0, 0
	err := each(m, func(_ uint32, s bpfLlamaSlot) {
		if s.State != 0 {
			used++
		}
		if s.State&slotEventLost != 0 {
			lost++
		}
	})
	fmt.Fprintf(w, "  %d of %d hold a probe, %d of them one whose reply found no room in the ring\n", used, m.MaxEntries(), lost)
	return err
}

func printReasons(m *ebpf.Map, w io.Writer) error {
	c, err := countersOf(m)
	if err != nil {
		return err
	}
	for _, e := range slices.SortedFunc(maps.Keys(c), func(a, b Ending) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Reason, b.Reason))
	}) {
		fmt.Fprintf(w, "  %s %s: %d\n", e.Action, e.Reason, c[e])
	}
	return nil
}

// each calls f for every entry, ordered by the octets of its key.
func each[K, V any](m *ebpf.Map, f func(K, V)) error {
	type entry struct {
		key   K
		value V
		raw   []byte
	}
	var all []entry
	var e entry
	it := m.Iterate()
	for it.Next(&e.key, &e.value) {
		raw, err := binary.Append(nil, binary.NativeEndian, e.key)
		if err != nil {
			return err
		}
		e.raw = raw
		all = append(all, e)
		e = entry{}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	slices.SortFunc(all, func(a, b entry) int { return slices.Compare(a.raw, b.raw) })
	for _, e := range all {
		f(e.key, e.value)
	}
	return nil
}
