package main

import (
	"fmt"
	"strings"

	"github.com/llama-agent/llama-agent/internal/hostinfo"
)

// checkOffloads is about what changes a packet before a program sees it.
func checkOffloads(i *hostinfo.Interface) (out []finding) {
	for _, o := range []struct{ name, flag, word string }{
		{hostinfo.OffloadLRO, "lro", "LRO"}, {hostinfo.OffloadGROHW, "rx-gro-hw", "hardware GRO"},
	} {
		if have, _ := i.Offload(o.name); have.On {
			out = append(out, offload(i, have, o.flag, o.word+" is on: packets are merged before a program sees them; drivers refuse native XDP, or ignore it"))
		}
	}
	if have, _ := i.Offload(hostinfo.OffloadVLANRx); have.On {
		for _, u := range i.Uppers {
			if u.Kind == "vlan" {
				out = append(out, offload(i, have, "rxvlan", "VLAN tags are taken out of frames ("+u.Name+
					" is on it): what native XDP answers can leave untagged; tc keeps the tag"))
				break
			}
		}
	}
	if i.HeaderSplit == "on" {
		out = append(out, finding{Name: "offloads", Detail: "headers and data are in separate buffers: drivers refuse native XDP",
			Mend: "ethtool -G " + i.Name + " tcp-data-split off"})
	}
	if len(out) == 0 && len(i.Offloads) > 0 && i.Kind != "lo" {
		out = append(out, finding{Name: "offloads", OK: true, Detail: offloadsInWords(i)})
	}
	return out
}

func offload(i *hostinfo.Interface, o hostinfo.Offload, flag, detail string) finding {
	f := finding{Name: "offloads", Detail: detail, Mend: fmt.Sprintf("ethtool -K %s %s off (some drivers restart the link for it)", i.Name, flag)}
	if o.Fixed {
		f.Detail, f.Mend = f.Detail+"; the driver does not let it be switched off", ""
	}
	return f
}

func offloadsInWords(i *hostinfo.Interface) string {
	var out []string
	for _, o := range []struct{ name, word string }{
		{hostinfo.OffloadLRO, "LRO"}, {hostinfo.OffloadGROHW, "hardware GRO"}, {hostinfo.OffloadVLANRx, "VLAN stripping"}, {"rx-checksum", "receive checksum"},
	} {
		if have, known := i.Offload(o.name); known {
			out = append(out, o.word+" "+onOff(have.On))
		}
	}
	tx := false
	for _, o := range i.Offloads {
		tx = tx || strings.HasPrefix(o.Name, "tx-checksum") && o.On
	}
	return strings.Join(append(out, "transmit checksum "+onOff(tx)), ", ")
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func checkModeration(i *hostinfo.Interface) []finding {
	m := i.Moderation
	if m == nil || m.RxUsecs == nil {
		return nil // nothing is held back by time, or nobody says so
	}
	f := finding{Name: "moderation", OK: *m.RxUsecs == 0, Detail: fmt.Sprintf("rx-usecs %d", *m.RxUsecs)}
	mend := fmt.Sprintf("ethtool -C %s rx-usecs 0", i.Name)
	if m.AdaptiveRx != nil {
		f.Detail += ", adaptive " + onOff(*m.AdaptiveRx)
		if *m.AdaptiveRx {
			f.OK = false
			mend = fmt.Sprintf("ethtool -C %s adaptive-rx off rx-usecs 0", i.Name)
		}
	}
	if !f.OK {
		most := fmt.Sprintf("0 to %d µs", *m.RxUsecs)
		if m.AdaptiveRx != nil && *m.AdaptiveRx {
			most = "a delay that changes with the load"
		}
		f.Detail += ": an interrupt may wait, which adds " + most + " to the stamps of what arrives here"
		f.Mend = "for steadier figures, and more interrupts: " + mend
	}
	return []finding{f}
}

// checkNICStamps says what the device could do; nothing of ours uses it yet.
func checkNICStamps(i *hostinfo.Interface) []finding {
	s := i.Stamps
	if s == nil || !s.HardwareRx && !s.HardwareTx {
		return nil
	}
	detail := "the device stamps PTP packets only"
	if s.RxAll {
		detail = "the device can stamp every packet"
	}
	if s.PHC != nil {
		detail += fmt.Sprintf(", clock /dev/ptp%d", *s.PHC)
	}
	return []finding{{Name: "nic stamps", OK: true, Detail: detail + " (this version does not use it)"}}
}

func checkPrograms(i *hostinfo.Interface) (out []finding) {
	for _, p := range i.Programs {
		who := fmt.Sprintf("%s program %d", p.Hook, p.ID)
		if p.Name != "" {
			who += " " + p.Name
		}
		if p.Owner != "" {
			who += " of " + p.Owner
		}
		f := finding{Name: "program", OK: true, Detail: who, Data: p}
		switch {
		case p.Owner == agentName:
		case p.XDP():
			f.OK = false
			f.Detail += " is there already: it is never replaced, so native and generic XDP are out, tc is not"
			f.Mend = fmt.Sprintf("see whose it is: bpftool prog show id %d, bpftool link show", p.ID)
		default:
			f.Detail += " is there too: ours runs before it and passes on what is not ours"
		}
		out = append(out, f)
	}
	return out
}
