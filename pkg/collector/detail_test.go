package collector

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// detailed makes a window of one path whose flows have RTTs around so many
// microseconds; a negative one has a loss too.
func detailed(name string, rtts ...int64) *pathWindow {
	p := &path{key: pathKey{addr: netip.MustParseAddrPort("10.0.0.1:862")}, flows: make([]flow, len(rtts)), target: &probe.Target{Name: name}}
	w := p.window(0)
	for i, us := range rtts {
		p.flows[i].sock = &socket{port: uint16(20000 + i)}
		f := &w.flows[i]
		f.received, f.sent = 10, 10
		if us < 0 {
			f.sent, us = 11, -us
			w.rest(uint16(i)).lostUnsplit = 1
		}
		for n := range int64(10) {
			w.rtts.record(uint16(i), us*1000+n*100)
		}
	}
	return w
}

func detailPorts(p *probe.Path) (ports []uint16) {
	for i := range p.FlowDetail {
		ports = append(ports, p.FlowDetail[i].SrcPort-20000)
	}
	return ports
}

func TestSlowFlows(t *testing.T) {
	for name, c := range map[string]struct {
		rtts []int64
		want []uint16
	}{
		"all alike":           {[]int64{50, 52, 54, 50, 51, 50}, nil},
		"one of six":          {[]int64{50, 52, 120, 50, 51, 50}, []uint16{2}},
		"one of two":          {[]int64{50, 120}, []uint16{1}},
		"one alone":           {[]int64{120}, nil},
		"not by the factor":   {[]int64{50, 52, 99, 50, 51, 50}, nil},
		"two of twenty-four":  {[]int64{50, 50, 50, 50, 50, 50, 200, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 200, 50}, []uint16{6, 22}},
		"many: the path's":    {[]int64{50, 50, 200, 200, 200, 50}, nil},
		"a loss beside it":    {[]int64{50, -50, 120, 50, 51, 50}, []uint16{1, 2}},
		"too few of it":       {[]int64{50, 50}, nil},
		"slow one with a gap": {[]int64{50, 50, -300}, []uint16{2}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reporter{slow: 2, log: slog.New(slog.DiscardHandler), stats: &stats{}}
			w := detailed("t", c.rtts...)
			if name == "too few of it" {
				w.rtts.list = slices.DeleteFunc(w.rtts.list, func(v uint64) bool { return v>>flowShift == 1 })
				for range fewestRTTs - 1 {
					w.rtts.record(1, 1e9)
				}
			}
			got := r.window(&event{paths: []*pathWindow{w}})
			require.Equal(t, c.want, detailPorts(&got.Paths[0]))
			r.slow = 0
			got = r.window(&event{paths: []*pathWindow{detailed("t", c.rtts...)}})
			for _, f := range got.Paths[0].FlowDetail {
				require.Positive(t, f.Lost, "no flow is slow")
			}
		})
	}
}

// Flows with loss go before slow ones, these before the rest; what is cut is counted.
func TestDetailsAreCapped(t *testing.T) {
	for _, c := range []struct {
		most int
		all  bool
		want [2][]uint16
		cut  uint64
	}{
		{0, false, [2][]uint16{{1, 3}, {0, 4}}, 0},
		{4, false, [2][]uint16{{1, 3}, {0, 4}}, 0},
		{3, false, [2][]uint16{{1, 3}, {4}}, 1},
		{2, false, [2][]uint16{{3}, {4}}, 2},
		{1, false, [2][]uint16{{3}, nil}, 3},
		{6, true, [2][]uint16{{0, 1, 2, 3}, {0, 4}}, 4},
	} {
		r := &reporter{slow: 2, most: c.most, all: c.all, log: slog.New(slog.DiscardHandler), stats: &stats{}}
		w := r.window(&event{paths: []*pathWindow{detailed("one", 50, 500, 50, -50, 50), detailed("two", 500, 50, 50, 50, -50)}})
		require.Equal(t, c.want, [2][]uint16{detailPorts(&w.Paths[0]), detailPorts(&w.Paths[1])}, "%+v", c)
		require.Equal(t, c.cut, r.stats[countFlowLinesCut].Load())
	}
}
