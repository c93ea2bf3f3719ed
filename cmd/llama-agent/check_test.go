package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/hostinfo"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/loader"
)

// said is a finding without what only JSON has.
func said(list []finding) (out []finding) {
	for _, f := range list {
		f.Data = nil
		out = append(out, f)
	}
	return out
}

func TestModerationInWords(t *testing.T) {
	zero, some, yes, no := uint32(0), uint32(50), true, false
	for name, c := range map[string]struct {
		m            *hostinfo.Moderation
		ok           bool
		detail, mend string
	}{
		"off":              {&hostinfo.Moderation{RxUsecs: &zero, AdaptiveRx: &no}, true, "rx-usecs 0, adaptive off", ""},
		"fixed":            {&hostinfo.Moderation{RxUsecs: &some}, false, "adds 0 to 50 µs", "ethtool -C e0 rx-usecs 0"},
		"adaptive":         {&hostinfo.Moderation{RxUsecs: &some, AdaptiveRx: &yes}, false, "changes with the load", "ethtool -C e0 adaptive-rx off rx-usecs 0"},
		"adaptive, 0 now":  {&hostinfo.Moderation{RxUsecs: &zero, AdaptiveRx: &yes}, false, "changes with the load", "adaptive-rx off"},
		"frames only":      {&hostinfo.Moderation{RxFrames: &some}, true, "", ""},
		"driver says nada": {nil, true, "", ""},
	} {
		got := checkModeration(&hostinfo.Interface{Name: "e0", Moderation: c.m})
		if c.detail == "" {
			require.Empty(t, got, name)
			continue
		}
		require.Len(t, got, 1, name)
		require.Equal(t, c.ok, got[0].OK, name)
		require.Contains(t, got[0].Detail, c.detail, name)
		require.Contains(t, got[0].Mend, c.mend, name)
	}
}

func TestOffloadsInWords(t *testing.T) {
	on := func(names ...string) (out []hostinfo.Offload) {
		for _, n := range names {
			out = append(out, hostinfo.Offload{Name: n, On: true})
		}
		return out
	}
	vlan := []hostinfo.Relative{{Name: "e0.7", Kind: "vlan"}}
	for name, c := range map[string]struct {
		i     hostinfo.Interface
		mends []string // none: nothing to mend
	}{
		"LRO and hardware GRO":     {hostinfo.Interface{Offloads: on("rx-lro", "rx-gro-hw")}, []string{"ethtool -K e0 lro off", "ethtool -K e0 rx-gro-hw off"}},
		"tags, without a VLAN":     {hostinfo.Interface{Offloads: on("rx-vlan-hw-parse")}, nil},
		"tags, under a VLAN":       {hostinfo.Interface{Offloads: on("rx-vlan-hw-parse"), Uppers: vlan}, []string{"ethtool -K e0 rxvlan off"}},
		"a VLAN, tags left alone":  {hostinfo.Interface{Offloads: []hostinfo.Offload{{Name: "rx-vlan-hw-parse"}}, Uppers: vlan}, nil},
		"headers apart":            {hostinfo.Interface{HeaderSplit: "on"}, []string{"ethtool -G e0 tcp-data-split off"}},
		"the driver does not tell": {hostinfo.Interface{}, nil},
	} {
		c.i.Name = "e0"
		var mends []string
		for _, f := range checkOffloads(&c.i) {
			require.Equal(t, f.OK, f.Mend == "", name)
			if f.Mend != "" {
				mends = append(mends, f.Mend[:len(c.mends[len(mends)])])
			}
		}
		require.Equal(t, c.mends, mends, name)
	}
	// What cannot be changed has no mend, and is said all the same.
	fixed := checkOffloads(&hostinfo.Interface{Name: "e0", Offloads: []hostinfo.Offload{{Name: "rx-gro-hw", On: true, Fixed: true}}})
	require.Len(t, fixed, 1)
	require.False(t, fixed[0].OK)
	require.Empty(t, fixed[0].Mend)
	require.Contains(t, fixed[0].Detail, "does not let it be switched off")
}

func TestProgramsInWords(t *testing.T) {
	for _, c := range []struct {
		p      hostinfo.Program
		ok     bool
		detail string
	}{
		{hostinfo.Program{Hook: hostinfo.HookNative, ID: 7, Owner: "cilium-agent"}, false, "xdp native program 7 of cilium-agent is there already"},
		{hostinfo.Program{Hook: hostinfo.HookGeneric, ID: 8}, false, "xdp generic program 8 is there already"},
		{hostinfo.Program{Hook: hostinfo.HookTC, ID: 9, Name: "cil_from_netdev"}, true, "tc ingress program 9 cil_from_netdev is there too"},
		{hostinfo.Program{Hook: hostinfo.HookNative, ID: 10, Owner: agentName}, true, "xdp native program 10 of llama-agent"},
	} {
		got := checkPrograms(&hostinfo.Interface{Programs: []hostinfo.Program{c.p}})
		require.Len(t, got, 1)
		require.Equal(t, c.ok, got[0].OK, c.detail)
		require.Contains(t, got[0].Detail, c.detail)
		require.Equal(t, !c.ok, got[0].Mend != "", c.detail)
	}
}

// TestStepsAreThoseOfTheJudge, and left out without one.
func TestStepsAreThoseOfTheJudge(t *testing.T) {
	i := &hostinfo.Interface{Name: "e0", Index: 3, Kind: "physical", Driver: "ice", Up: true, Carrier: true}
	h := &hostCheck{cfg: config.Default()}
	for _, f := range h.interfaceFindings(i, "default route") {
		require.NotContains(t, f.Name, "step")
	}
	h.judge = func(got hostinfo.Interface) []stepJudgement {
		require.Equal(t, *i, got)
		return []stepJudgement{
			{Step: "native", Why: "MTU 9000 is above 3046", Mend: "ip link set dev e0 mtu 3046", LinkEffect: "takes the link down and up"},
			{Step: "tc", Works: true, LinkEffect: "disturbs nothing"},
		}
	}
	var steps []finding
	for _, f := range said(h.interfaceFindings(i, "default route")) {
		require.NotEqual(t, "driver", f.Name, "the judgement says it")
		if f.Name != "interface" {
			steps = append(steps, f)
		}
	}
	require.Equal(t, []finding{
		{Name: "step native", Interface: "e0", Detail: "no: MTU 9000 is above 3046; attaching takes the link down and up", Mend: "ip link set dev e0 mtu 3046"},
		{Name: "step tc", Interface: "e0", OK: true, Detail: "works; attaching disturbs nothing"},
	}, steps)
}

// TestModeInWords: only one that names a step can keep the agent from its start.
func TestModeInWords(t *testing.T) {
	had := func(loader.Mode) error { return nil }
	for name, c := range map[string]struct {
		mode   string
		start  func(loader.Mode) error
		pin    finding
		detail string // "": nothing is said
		ends   bool
	}{
		"auto":          {mode: "auto"},
		"sockets":       {mode: "socket"},
		"had":           {"tc", had, finding{OK: true}, "datapath.mode: tc can be had", false},
		"not had":       {"tc", func(m loader.Mode) error { return errors.New(m.String() + " is out") }, finding{OK: true}, "tc cannot be had: tc is out", true},
		"no pin folder": {"native", had, finding{Detail: "no bpffs"}, "native cannot be had: no bpffs", true},
		"no bpf(2)":     {"generic", nil, finding{OK: true}, "generic cannot be had: bpf(2) does not answer", true},
	} {
		h := &hostCheck{cfg: config.Default(), start: c.start, pin: c.pin}
		h.cfg.Datapath.Mode = c.mode
		got := h.mode()
		if c.detail == "" {
			require.Empty(t, got, name)
			continue
		}
		require.Len(t, got, 1, name)
		require.Contains(t, got[0].Detail, c.detail, name)
		require.Equal(t, c.ends, ending(got) != nil, name)
		require.Equal(t, !c.ends, got[0].OK, name)
		h.cfg.Reflector.Listen = nil
		require.Empty(t, h.mode(), "nothing is reflected")
	}
}

func TestInterfaceInWords(t *testing.T) {
	i := hostinfo.Interface{Name: "bond0", Kind: "bond", Driver: "bonding", MTU: 9000, RxQueues: 16, TxQueues: 16, Up: true, Carrier: true,
		Lowers: []hostinfo.Relative{{Name: "e0", Kind: "physical"}, {Name: "e1", Kind: "physical"}}, Uppers: []hostinfo.Relative{{Name: "v7", Kind: "vlan"}}}
	f := checkInterface(&i, "default route")
	require.True(t, f.OK)
	require.Equal(t, "bond, driver bonding, MTU 9000, 16 receive and 16 transmit queues, on e0 (physical), e1 (physical), under v7 (vlan) (default route)", f.Detail)
	f.Interface = i.Name
	var text bytes.Buffer
	require.NoError(t, f.print(&text))
	require.Equal(t, "ok  interface      bond0: "+f.Detail+"\n", text.String())
	i.Carrier = false
	require.Contains(t, checkInterface(&i, "").Mend, "cable")
	i.Up = false
	require.Equal(t, "ip link set dev bond0 up", checkInterface(&i, "").Mend)
}

func TestNICStampsInWords(t *testing.T) {
	zero := 0
	of := func(s hostinfo.Stamps) []finding {
		return checkNICStamps(&hostinfo.Interface{Kind: "physical", Stamps: &s})
	}
	require.Equal(t, []finding{{Name: "nic stamps", OK: true, Detail: "the device can stamp every packet, clock /dev/ptp0 (this version does not use it)"}},
		of(hostinfo.Stamps{HardwareRx: true, HardwareTx: true, RxAll: true, PHC: &zero}))
	require.Contains(t, of(hostinfo.Stamps{HardwareRx: true})[0].Detail, "PTP packets only")
	require.Empty(t, of(hostinfo.Stamps{}))
}

func TestSleepInWords(t *testing.T) {
	deep := hostinfo.CPU{IdleDriver: "intel_idle", Deepest: &hostinfo.IdleState{Name: "C6", Latency: 133 * time.Microsecond}}
	f := checkSleep(deep)
	require.False(t, f.OK)
	require.Contains(t, f.Detail, "deepest C6, 133µs to wake up (intel_idle)")
	require.Contains(t, f.Mend, "cpupower idle-set -D 10")
	limit := 10 * time.Microsecond
	f = checkSleep(hostinfo.CPU{IdleDriver: "intel_idle", Deepest: &hostinfo.IdleState{Name: "C1", Latency: 2 * time.Microsecond}, Limit: &limit})
	require.Equal(t, "deepest C1, 2µs to wake up (intel_idle); a program holds them to 10µs", f.Detail)
	require.True(t, f.OK)
	require.True(t, checkSleep(hostinfo.CPU{IdleDriver: "intel_idle"}).OK)
	require.True(t, checkGovernor(hostinfo.CPU{Governor: "performance"}).OK)
	require.Contains(t, checkGovernor(hostinfo.CPU{Governor: "powersave"}).Mend, "performance")
}

func TestConntrackInWords(t *testing.T) {
	cfg := &config.Config{Targets: []probe.Target{{SSID: true}, {SSID: true}, {}}}
	cfg.Probing.Ports, cfg.Probing.Classes, cfg.Probing.Family = 32, make([]probe.Class, 3), config.FamilyAny
	require.Equal(t, 32+32+3*32, flows(cfg), "a target without SSIDs gets ports for each class")
	cfg.Probing.Family = config.FamilyBoth
	require.Equal(t, 2*160, flows(cfg))

	require.True(t, checkConntrack(nil, 1000).OK)
	table := &hostinfo.Conntrack{Count: 10, Max: 1000, UDPTimeout: 30 * time.Second}
	require.True(t, checkConntrack(table, 740).OK)
	f := checkConntrack(table, 741)
	require.False(t, f.OK)
	require.Contains(t, f.Detail, "10 of 1000 entries used; probes of this configuration need up to 741, which last 30s")
	require.Contains(t, f.Mend, "notrack")
}

func TestSomeOfAList(t *testing.T) {
	require.Equal(t, "a, b, c", some([]string{"a", "b", "c"}))
	require.Equal(t, "a, b, c and 2 more", some([]string{"a", "b", "c", "d", "e"}))
}
