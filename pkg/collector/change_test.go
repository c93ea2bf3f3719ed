package collector

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// during runs a collector without an end, lets do change it, and returns all
// that was counted, by class.
func during(t *testing.T, o Options, do func(c *Collector), change ...func(c *Collector)) map[string]*probe.Path {
	t.Helper()
	var windows []*probe.Window
	o.Count = 0
	o.Emit = func(w *probe.Window) { windows = append(windows, w) }
	c, err := New(o)
	require.NoError(t, err)
	for _, f := range change {
		f(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { do(c); cancel() })
	require.NoError(t, c.Run(ctx))
	run.Wait()
	require.Len(t, windows, 1)
	out := map[string]*probe.Path{}
	for i := range windows[0].Paths {
		p := &windows[0].Paths[i]
		require.NoError(t, p.Check())
		require.Nil(t, out[p.Class.Name], "one line a series")
		out[p.Class.Name] = p
	}
	return out
}

// fixedPorts are free ones: opened once, and closed.
func fixedPorts(t *testing.T, n int) func(int) []uint16 {
	t.Helper()
	var ports []uint16
	for range n {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4zero})
		require.NoError(t, err)
		defer c.Close()
		ports = append(ports, uint16(c.LocalAddr().(*net.UDPAddr).Port))
	}
	return func(n int) []uint16 { return ports[:min(n, len(ports))] }
}

// A class put before another takes its SSID; ports, classes and marks change
// while probes are under way: nothing is lost for it, nothing counted twice.
func TestPlanChangesLoseNothing(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) {
		p.edit = func(b []byte) []byte { time.Sleep(2 * time.Millisecond); return b }
	})
	o := testOptions(target("t", p.addr()))
	o.Plan.Ports = fixedPorts(t, 4)
	o.Plan.Classes = []probe.Class{{Name: "be"}}
	o.Timing.Interval = 50 * time.Millisecond
	change := func(c *Collector, f func(*Plan)) {
		time.Sleep(400 * time.Millisecond)
		plan := o.Plan
		f(&plan)
		o.Plan = plan
		c.Update(plan)
	}
	got := during(t, o, func(c *Collector) {
		change(c, func(p *Plan) { p.Classes = []probe.Class{{Name: "ef", DSCP: 46}, {Name: "be"}} })
		change(c, func(p *Plan) { p.Count = 2 })
		change(c, func(p *Plan) { p.Classes = []probe.Class{{Name: "ef", DSCP: 44}, {Name: "be"}} })
		change(c, func(p *Plan) { p.Size = 200 })
		time.Sleep(400 * time.Millisecond)
	})
	require.Len(t, got, 2)
	for name, path := range got {
		require.Positive(t, path.Received, name)
		require.Equal(t, path.Sent, path.Received, name)
		require.Zero(t, path.Corrupted, name)
		for _, r := range path.NotSentBy {
			require.Equal(t, "overrun", r.Name, "%s: a busy machine may be late", name)
		}
	}
	require.Greater(t, got["be"].Sent, got["ef"].Sent)
}

// Two names for one address and port: their sessions are kept apart.
func TestTwoNamesForOneAddress(t *testing.T) {
	for name, c := range map[string]struct {
		source func(int) []uint16
		flows  []int // of each name
	}{
		"ports of the kernel's choice": {kernelPorts, []int{4, 4}},
		"ports enough":                 {fixedPorts(t, 8), []int{4, 4}},
		"ports left for some":          {fixedPorts(t, 6), []int{4, 2}},
		"ports for the first only":     {fixedPorts(t, 4), []int{4}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, "127.0.0.1:0", nil)
			o := testOptions(target("one", p.addr()), target("two", p.addr()))
			o.Count, o.Plan.Ports = 3, c.source
			w, _ := measure(t, o)
			require.Len(t, w[0].Paths, len(c.flows))
			ports, all := map[uint16]bool{}, 0
			for i, n := range c.flows {
				require.Equal(t, probe.Counts{Sent: uint64(3 * n), Received: uint64(3 * n)}, w[0].Paths[i].Counts)
				for j := range w[0].Paths[i].FlowDetail {
					ports[w[0].Paths[i].FlowDetail[j].SrcPort] = true
				}
				all += n
			}
			require.Len(t, ports, all, "a source port of both")
		})
	}
}

// A source port that is taken at the start is tried again.
func TestSourcePortThatBecomesFree(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", nil)
	o := testOptions(target("t", p.addr()))
	o.Plan.Count = 1
	o.Plan.Ports = fixedPorts(t, 1)
	o.Timing.Interval = 50 * time.Millisecond
	holder, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4zero, Port: int(o.Plan.Ports(1)[0])})
	require.NoError(t, err)
	got := during(t, o, func(c *Collector) {
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, holder.Close())
		c.Update(o.Plan)
		time.Sleep(500 * time.Millisecond)
	})
	require.Positive(t, got["ef"].Received)
	require.True(t, slices.ContainsFunc(got["ef"].NotSentBy, func(r probe.Reason) bool { return r.Name == "source_port" }), "%v", got["ef"].NotSentBy)
}

func TestDropsAtASocketAge(t *testing.T) {
	s := &socket{fd: -1, fresh: 2}
	l := &loop{late: 2e9, sockets: map[socketKey]*socket{{}: s}}
	l.schedule.interval = 1e9
	require.True(t, l.claimDrop(s))
	l.ageDrops(3.1e9)
	require.EqualValues(t, 1, s.aged)
	l.ageDrops(6.1e9)
	require.EqualValues(t, 1, s.aged, "a probe sent before it may be judged as late as that")
	l.ageDrops(6.2e9)
	require.False(t, l.claimDrop(s), "a drop of long ago explains no loss of now")
}

// A path that moves from a device that stamps to one that does not has RTTs by the clock that is left.
func TestWayWithoutStamps(t *testing.T) {
	l, f := testFlow(64)
	f.sock.fd = 999
	f.path.route = route{ifIndex: 2, stamps: true}
	f.path.stamped, f.stamped = true, true
	l.refresh(f.path, &endpoint{target: f.path.target, addr: netip.MustParseAddrPort("192.0.2.1:862"), route: route{ifIndex: 3}})
	s := f.testSend()
	s.t1, s.t4, s.got = 0, s.sent+50_000, s.sent+60_000
	s.state, s.counters = slotAnswered, counters{byTLV, 1, 1}
	l.settle(f, maxMono)
	w := f.path.window(0)
	require.False(t, w.rtts.empty())
	require.Equal(t, probe.ClockUser, w.clock)
}

// Where T1 is read in user space, nothing comes between that and the send.
func TestProbesWithoutStampsLeaveAlone(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", nil)
	o := testOptions(target("a", p.addr()), target("b", p.addr()), target("c", p.addr()))
	o.Plan.Count, o.Emit = 1, func(*probe.Window) {}
	c, err := New(o)
	require.NoError(t, err)
	l := c.loop
	defer func() { require.NoError(t, l.close()) }()
	wall, mono, _ := l.offset.sample(l.clock)
	l.spans.begin(wall, mono)
	c.resolve(t.Context())
	l.apply(l.plan.Load())
	batches := func(stamped bool) uint32 {
		for _, f := range l.schedule.flows {
			f.path.stamped = stamped
			f.sock = l.schedule.flows[0].sock
		}
		before := l.batches
		for _, f := range l.schedule.flows {
			l.prepare(f, mono)
		}
		l.flushAll()
		return l.batches - before
	}
	require.EqualValues(t, len(l.schedule.flows), batches(false))
	require.EqualValues(t, 1, batches(true))
}

func TestPartsOfAPathMakeOneLine(t *testing.T) {
	part := func(port uint16, c probe.Counts, rtt int64, jitter float64) *pathWindow {
		p := &path{flows: make([]flow, 1), target: &probe.Target{Name: "t"}, clock: probe.ClockSocket}
		p.flows[0].sock = &socket{port: port}
		w := p.window(0)
		w.flows[0].sent, w.flows[0].received = uint32(c.Sent), uint32(c.Received)
		if c.NotSent+c.Lost > 0 {
			*w.rest(0) = restCounts{notSent: uint32(c.NotSent), lostForward: uint32(c.LostForward)}
		}
		w.rtts.record(0, rtt)
		w.jitter = probe.Some(jitter)
		return w
	}
	a := part(5, probe.Counts{Sent: 3, Received: 2, Lost: 1, LostForward: 1, NotSent: 1}, 10, 2)
	a.notSent[reasonOverrun] = 1
	b := part(5, probe.Counts{Sent: 2, Received: 2, NotSent: 3}, 20, 8)
	b.notSent[reasonOverrun], b.notSent[reasonNoRoute] = 2, 1
	b.flows[0].marks.hopsForward = 3
	c := part(6, probe.Counts{Sent: 1, Received: 1}, 30, 2)
	idle := part(7, probe.Counts{}, 1, 1)
	r := &reporter{all: true, log: slog.New(slog.DiscardHandler), grown: map[uint32]growth{0: {0: 7}}}
	w := r.window(&event{paths: []*pathWindow{a, idle, b, c}})
	got := onePath(t, []*probe.Window{w})
	require.NoError(t, got.Check())
	require.Equal(t, probe.Counts{Sent: 6, Received: 5, Lost: 1, LostForward: 1, NotSent: 4, HostDrops: 7}, got.Counts)
	require.Equal(t, []probe.Reason{{Name: "overrun", Count: 3}, {Name: "no_route", Count: 1}}, got.NotSentBy)
	require.EqualValues(t, 3, got.RTT.Count())
	require.Equal(t, probe.Some(4), got.Jitter, "by the number of RTTs")
	require.Equal(t, probe.Some(3), got.HopsForward)
	require.Equal(t, 3, got.Flows)
	require.Len(t, got.FlowDetail, 2)
	require.EqualValues(t, 5, got.FlowDetail[0].Sent)
}

// A window's end that is read twice, a little apart, gives no second window of
// the same time.
func TestWindowIsNotLabelledTwice(t *testing.T) {
	s := spans{length: 10 * time.Second}
	s.begin(1e18+5, 100)
	end := s.open().endMono
	s.begin(1e18+10e9-30, end) // the wall clock reads 30 ns less than the monotonic one says
	require.Equal(t, 10*time.Second, s.all[1].label.Sub(s.all[0].label))
	require.Greater(t, s.all[1].endMono, end+int64(9*time.Second))
}

func TestScheduleKeepsItsPlaceWhenFlowsChange(t *testing.T) {
	s := testSchedule(60, time.Minute)
	for range 30 {
		s.next(s.due())
	}
	due := s.due()
	s.restart(make([]*flow, 120), due-5)
	require.Equal(t, 60, s.at, "half-way, as before")
	require.Equal(t, due, s.due())
}

// The reply to a probe of a path that was replaced finds it behind the new one.
func TestHolderFindsTheOlderSession(t *testing.T) {
	of := func(next uint32) *flow { return &flow{path: &path{slots: make([]slot, 4), inFlight: 4}, next: next} }
	old, now := of(3), of(2)
	l := &loop{older: map[*flow]*flow{now: old}}
	old.slot(1).wire, now.slot(1).wire = 77, 88
	require.Same(t, old, l.holder(now, 1, 77))
	require.Same(t, now, l.holder(now, 1, 88))
	require.Same(t, now, l.holder(now, 1, stamp.Timestamp(99)), "a T1 of nobody's is a mismatch of the newer")
	require.Nil(t, l.holder(now, 2, 99))
	clear(l.older)
	for _, f := range []*flow{old, now} {
		f.sock = &socket{}
		l.link(f)
	}
	require.Equal(t, map[*flow]*flow{now: old}, l.older)
	l.unlink(old)
	require.Empty(t, l.older)
	l.unlink(now)
	require.Zero(t, l.byKey.n)
}
