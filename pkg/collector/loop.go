package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A loop sends, receives and counts, all in one goroutine: nothing below is
// shared but what says so.
type loop struct {
	clock    clock
	offset   offset
	schedule schedule
	spans    spans
	timeout  int64 // ns
	late     int64 // ns
	sources  []netip.Addr
	device   device // that sockets send by
	counted  bool   // Options.Count is set
	count    int
	log      *slog.Logger
	observe  func(Answer) // nil: none
	kernel   Kernel       // nil: none
	oneWay   bool

	epoll    int
	sockets  map[socketKey]*socket
	byFD     map[int32]*socket
	socketID uint32
	paths    map[pathKey]*path
	retiring []*path // gone from the plan, with windows still to be written
	byKey    flowTable
	lender   lender
	older    map[*flow]*flow // to a flow, one that is gone from the plan and had the same session
	rows     []*flow         // by their row in the kernel's tables
	full     bool            // those are, or were once
	wire     stamp.Clock     // how T1 is written

	estimated stamp.ErrorEstimate // in the probes now
	anyAuth   bool

	waiting   int   // probes sent and not heard of
	unread    int   // probes sent since the sockets were read
	aged      int64 // monotonic ns: when drops at sockets were last aged
	overflows overflows
	left      int   // probes still to send, where counted
	complete  bool  // the plan has all its addresses
	taken     int64 // monotonic ns: T4 of the reply read last from the kernel
	drained   int64 // monotonic ns: everything that had arrived by then was read
	closing   closer

	slow    *governor
	caps    [2]int // probes a second of all flows, and of a target; 0: no limit
	out     outbox // of the UDP sockets
	packets struct {
		asked   bool                  // Options.EmitPacket
		sockets map[int]*packetSocket // by interface index
		told    map[string]bool
	}
	batches uint32 // numbers them
	in      *sock.Batch
	fits    int // octets of payload, in out and in
	errs    *sock.Batch
	events  [256]unix.EpollEvent
	meta    sock.Meta
	decoded stamp.Reply
	// onCaptured is captured, as one value for all calls.
	onCaptured func(*probe.Captured)

	// Shared with other goroutines.
	stats    stats
	reasons  [numReasons]atomic.Uint64
	broken   atomic.Bool                  // a socket could not be opened, a target is link-local, or the kernel has room again: apply again
	estimate atomic.Uint32                // of the clock's error, for probes to come
	plan     atomic.Pointer[resolvedPlan] // the next plan, taken by the loop
	stopping atomic.Bool
	reports  chan event // to the reporter
}

const (
	// Sockets are read at least that often while replies are awaited, and after
	// so many probes: a default receive buffer holds some 250 datagrams.
	drainEvery = 20 * time.Millisecond
	drainAfter = 64
	// A stop or a new plan waits at most that long.
	idleEvery = 50 * time.Millisecond
)

func newLoop(o *Options, c clock) (l *loop, err error) {
	l = &loop{
		clock: c, timeout: int64(o.Timing.Timeout), late: int64(o.Timing.Late), sources: o.Sources,
		observe: o.Observe, kernel: o.Kernel, counted: o.Count > 0, count: o.Count, log: o.Log,
		sockets: map[socketKey]*socket{}, byFD: map[int32]*socket{}, paths: map[pathKey]*path{}, older: map[*flow]*flow{},
		errs:    sock.NewBatch(batchSize, 256),
		reports: make(chan event, 64),
	}
	l.onCaptured = l.captured
	l.overflows.forget()
	l.fit(o.Plan.largest())
	l.slow = newGovernor(o.MaxCPU, o.Timing.Interval, o.Log)
	l.oneWay = o.OneWay
	l.caps = [2]int{o.MaxRate, o.MaxRatePerTarget}
	l.out.fd, l.out.count = -1, l.nextBatch()
	l.packets.asked, l.packets.sockets, l.packets.told = o.EmitPacket, map[int]*packetSocket{}, map[string]bool{}
	l.schedule.interval = int64(o.Timing.Interval)
	l.spans.length = o.Timing.Window
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	return l, nil
}

// run measures until ctx ends, or until every flow has sent its count and every
// probe has ended.
func (l *loop) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { l.stopping.Store(true) })
	defer stop()
	wall, mono, _ := l.offset.sample(l.clock)
	l.spans.begin(wall, mono)
	for {
		if p := l.plan.Swap(nil); p != nil {
			l.apply(p)
		}
		now := l.sampleClock()
		l.ageDrops(now)
		l.refreshEstimate()
		if !l.stopping.Load() {
			l.sendDue(now)
		}
		if l.shouldDrain(now) {
			l.drain()
			l.settleLent()
		}
		l.closeWindows()
		if l.finished() {
			break
		}
		l.sleep(now)
	}
	l.finish()
}

// sampleClock notes the time, steps of the wall clock, and the end of the window.
func (l *loop) sampleClock() (mono int64) {
	wall, mono, step := l.offset.sample(l.clock)
	if step != 0 {
		l.stats.add(countClockSteps)
	}
	if step < 0 {
		l.spans.back++
	}
	sp := l.spans.open()
	switch {
	case mono >= sp.endMono:
	case step != 0 && l.spans.length > 0:
		l.spans.cut(wall-step, mono)
	default:
		return mono
	}
	l.reports <- event{boundary: true, num: sp.num}
	l.spans.begin(wall, mono)
	return mono
}

// refreshEstimate puts what is known of the clock's error into probes to come.
func (l *loop) refreshEstimate() {
	e := stamp.ErrorEstimate(l.estimate.Load())
	if e == l.estimated {
		return
	}
	l.estimated = e
	for _, p := range l.paths {
		p.setErrorEstimate(e)
	}
}

// shouldDrain: the kernel has stamped what arrives, so that reading it can wait
// until it is worth a look, or until nothing is left to send.
func (l *loop) shouldDrain(now int64) bool {
	sending := !l.stopping.Load() && (!l.counted || l.left > 0)
	return !sending || now-l.drained >= int64(drainEvery) || l.unread >= drainAfter
}

// finished says whether nothing is left to send and nothing to wait for.
func (l *loop) finished() bool {
	done := l.stopping.Load() || l.counted && l.complete && l.left == 0
	return done && l.waiting == 0
}

// sleep waits for the next thing to do. woken is when it last did.
func (l *loop) sleep(woken int64) {
	_, now := l.clock.Read()
	until := now + int64(idleEvery)
	if l.closing.active {
		return
	}
	if l.waiting > 0 {
		until = now + int64(drainEvery)
	}
	if !l.stopping.Load() && (!l.counted || l.left > 0) {
		until = min(until, l.schedule.wake(woken))
	} else if l.waiting > 0 {
		// Nothing but replies to wait for.
		until = now + int64(time.Millisecond)
		l.settleAll()
	}
	if until > now {
		l.clock.SleepUntil(until)
	}
}

// settleAll ends what can be ended when nothing is sent any more: a flow's turn
// will not come.
func (l *loop) settleAll() {
	settle := func(p *path) {
		for i := range p.flows {
			l.settle(&p.flows[i], l.drained)
		}
	}
	for _, p := range l.paths {
		settle(p)
	}
	for _, p := range l.retiring {
		settle(p)
	}
}

// finish ends all probes, writes all windows and closes all sockets.
func (l *loop) finish() {
	l.drain()
	wall, mono, _ := l.offset.sample(l.clock)
	l.spans.cut(wall, mono)
	l.reports <- event{boundary: true, num: l.spans.open().num}
	l.drained = maxMono
	for len(l.spans.all) > 0 {
		l.closeWindows()
	}
	close(l.reports)
}

func (l *loop) close() error {
	for _, f := range l.rows {
		if f != nil {
			l.delist(f)
		}
	}
	for _, s := range l.sockets {
		l.closeSocket(s)
	}
	for _, s := range l.packets.sockets {
		l.closePacketSocket(s)
	}
	return errors.Join(unix.Close(l.epoll), l.clock.Close())
}
