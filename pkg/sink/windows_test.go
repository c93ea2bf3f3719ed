package sink

import (
	"net/netip"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
)

var (
	testEnd  = time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC)
	testHost = probe.Host{Name: "a1-h1", Tags: map[string]string{"rack": "a1", "cluster": "aa", "datacenter": "iad"}}
)

func window(paths ...probe.Path) *probe.Window {
	return &probe.Window{Start: testEnd.Add(-10 * time.Second), End: testEnd, Paths: paths}
}

func hist(ns ...int64) probe.Hist {
	var h probe.Hist
	for _, v := range ns {
		h.Record(v)
	}
	return h
}

// plainPath is a path on which all is well.
func plainPath() probe.Path {
	return probe.Path{
		Dst: "reflector02", DstTags: map[string]string{"rack": "01", "cluster": "bb", "datacenter": "iad"},
		Family: 4, Addr: netip.MustParseAddrPort("10.0.2.7:862"), SrcAddr: netip.MustParseAddr("10.0.1.5"),
		Class: probe.Class{Name: "be"}, Clock: probe.ClockSocket,
		Counts:    probe.Counts{Sent: 4, Received: 4},
		RTT:       hist(10_000, 11_000, 12_000, 20_500),
		Responder: hist(3_000, 3_100, 3_200, 9_000), SendLate: hist(50_000),
		Jitter:      probe.Some(1234.4),
		HopsForward: probe.Some(3), HopsReverse: probe.Some(3),
		DSCPForward: probe.Some(0), DSCPReverse: probe.Some(0),
		Flows: 2,
	}
}

// lostPath had no reply at all.
func lostPath() probe.Path {
	p := plainPath()
	p.Counts = probe.Counts{Sent: 320, Lost: 320, LostUnsplit: 320}
	p.RTT, p.Responder, p.Jitter = probe.Hist{}, probe.Hist{}, probe.Opt{}
	p.HopsForward, p.HopsReverse, p.DSCPForward, p.DSCPReverse = probe.Opt{}, probe.Opt{}, probe.Opt{}, probe.Opt{}
	p.Flows, p.FlowsLossy = 32, 32
	return p
}

// remarkedPath has a value in every field, its class changed on the way.
func remarkedPath() probe.Path {
	p := plainPath()
	p.Class = probe.Class{Name: "ef", DSCP: 46}
	p.Clock = probe.ClockKernel
	p.Counts = probe.Counts{
		Sent: 40, Received: 20, Late: 1, Lost: 9, LostForward: 4, LostReverse: 3, LostUnsplit: 2,
		Refused: 5, Unreachable: 3, LocalDrop: 2, NotSent: 6, Duplicate: 7, Reordered: 8, Corrupted: 9, HostDrops: 11,
	}
	p.DSCPForward, p.DSCPReverse = probe.Some(0), probe.Some(46)
	p.Flows, p.FlowsLossy, p.FlowsPathChanged, p.FlowsRemarked = 32, 3, 2, 1
	return p
}

func v6Path() probe.Path {
	p := plainPath()
	p.Family = 6
	p.Addr = netip.MustParseAddrPort("[2001:db8::7]:8620")
	p.SrcAddr = netip.MustParseAddr("2001:db8::5")
	return p
}

// flowPath has flows: one with loss, one at total loss, one without a source address.
func flowPath() probe.Path {
	p := remarkedPath()
	p.Addr = netip.MustParseAddrPort("[::ffff:10.0.2.7]:862")
	p.FlowDetail = []probe.Flow{
		{SrcPort: 20000, Counts: probe.Counts{Sent: 10, Received: 9, Lost: 1, LostForward: 1}, RTT: hist(10_000, 12_000),
			HopsForward: probe.Some(4), HopsReverse: probe.Some(3), DSCPForward: probe.Some(0), DSCPReverse: probe.Some(46)},
		{SrcPort: 24095, Counts: probe.Counts{Sent: 10, Lost: 10, LostUnsplit: 10}},
	}
	return p
}

// sweptPath lost everything above 1,400 octets.
func sweptPath() probe.Path {
	p := lostPath()
	p.Counts = probe.Counts{Sent: 30, Received: 20, Lost: 10, LostForward: 10, NotSent: 10}
	p.Sizes = []probe.SizeCount{
		{Size: 96, Sent: 10, Received: 10}, {Size: 1400, Sent: 10, Received: 10}, {Size: 1500, Sent: 10}, {Size: 9000},
	}
	p.RTT = hist(10_000)
	p.FlowsAnswered, p.EqualPaths = 10, 16
	p.OneWay = &probe.OneWay{Error: 12_345}
	for _, ns := range []int64{-2_000, 4_000, 6_000} {
		p.OneWay.Forward.Record(ns)
		p.OneWay.Reverse.Record(10_000 - ns)
	}
	return p
}

func mixedPath() probe.Path {
	p := flowPath()
	p.Clock = probe.ClockMixed
	return p
}

func escapedPath() probe.Path {
	p := plainPath()
	p.Dst = "rack 1, unit=2"
	p.DstTags = map[string]string{"a b": "c d", "k=v": "x=y", "com,ma": "1,2", "ort": "Zürich 東京", "back": `a\b`, "quote": `"q"`}
	return p
}

// zeroPath had probes due and sent none.
func zeroPath() probe.Path {
	p := lostPath()
	p.Counts = probe.Counts{NotSent: 10}
	p.NotSentBy = []probe.Reason{{Name: "no_route", Count: 10}}
	p.SrcAddr = netip.Addr{}
	p.SendLate = probe.Hist{}
	p.FlowsLossy = 0
	return p
}

// droppedPath sent probes whose replies this host dropped, all of them: no ratio.
func droppedPath() probe.Path {
	p := zeroPath()
	p.Counts = probe.Counts{Sent: 5, LocalDrop: 5}
	return p
}

// goldenWindows are the windows of testdata/*.golden.
func goldenWindows() map[string]*probe.Window {
	other := func(p probe.Path, dst string) probe.Path { p.Dst = dst; return p }
	return map[string]*probe.Window{
		"plain":         window(plainPath()),
		"total_loss":    window(lostPath()),
		"remarked":      window(remarkedPath()),
		"v6":            window(v6Path()),
		"flow_detail":   window(flowPath()),
		"mixed":         window(mixedPath()),
		"swept":         window(sweptPath()),
		"escaped":       window(escapedPath()),
		"zero_sent":     window(zeroPath(), other(droppedPath(), "reflector03")),
		"several_paths": window(plainPath(), remarkedPath(), v6Path(), other(lostPath(), "reflector04")),
	}
}
