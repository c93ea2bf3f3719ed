package collector

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// Family says which addresses of a target's name are probed.
type Family uint8

// The values of Family.
const (
	FamilyAny  Family = iota // one address, as the resolver prefers
	Family4                  // IPv4 only
	Family6                  // IPv6 only
	FamilyBoth               // one address of each
)

// MinInterval is compiled in: no configuration makes a flow faster.
const MinInterval = time.Millisecond

// Options is what a Collector is made of.
type Options struct {
	Host    string // name of this host: a target of that name is skipped
	Plan    Plan
	Timing  probe.Timing
	Family  Family
	Format  stamp.Format          // of T1 on the wire
	Sources []netip.Addr          // probes leave from these, at most one a family; none: the kernel chooses
	Device  string                // probes leave by this interface or VRF, or not at all; "": by the route
	Allow   func(netip.Addr) bool // bounds every destination after resolution; nil: all
	Kernel  Kernel                // measures where it can; nil: the sockets do it all
	// EmitPacket has probes leave as whole frames from packet sockets where the kernel
	// measures; else, and by default, they leave from UDP sockets.
	EmitPacket bool
	Self       bool // probe targets that are this host (ping, loopback)
	Count      int  // probes of each flow, then the collector ends; 0: until stopped
	AllFlow    bool // hand over every flow's detail, not only that of flows with loss and of slow ones
	// SlowFlow is how many times the 90 % quantile of the path's other flows the
	// median RTT of a slow flow exceeds; 0: no flow is slow.
	SlowFlow float64
	MaxFlows int // details of flows a window, those with loss first; 0: no limit
	// Emit receives each window once, in order, from one goroutine.
	Emit func(*probe.Window)
	// Resolved, if set, is told what is known of all targets whenever they were
	// looked up.
	Resolved func([]TargetState)
	// Observe, if set, is told of each first reply as it is read, by the goroutine
	// that sends: it must return at once.
	Observe func(Answer)
	Log     *slog.Logger

	// OneWay asks for one-way delays, which need both clocks synchronised.
	OneWay bool
	// ClockError, if above 0, says that this host's clock is synchronised to UTC
	// within that, whatever the kernel knows.
	ClockError time.Duration

	// MaxRate and MaxRatePerTarget bound the probes a second of all targets and of
	// each, also while a stall is made good; 0: no limit.
	MaxRate, MaxRatePerTarget int
	// MaxCPU is how much of a core the process may take before probing slows down,
	// which it does for want of buffers too; 0: it never does.
	MaxCPU float64
}

// Answer is the first reply to one probe, before its window is judged.
type Answer struct {
	Target, Class string
	SrcPort       uint16
	Seq           uint32
	RTT           int64 // ns, responder's delay taken out; -1 if it has none
}

// Plan is what is probed; it can be changed while the collector runs.
type Plan struct {
	Targets []probe.Target
	Classes []probe.Class
	// Ports gives the first n source ports of this host, of which each is a flow a
	// class, or fewer if there are no more; a port 0 lets the kernel choose.
	// Targets that return no SSID take Count·len(Classes) of them, each class its own.
	Ports func(n int) []uint16
	Count int // source ports a target and class
	// Rotate is the fraction of the source ports that is replaced each hour by the
	// next ones of Ports; those that stay keep their sessions.
	Rotate float64
	Size   int // octets of a probe (UDP payload); 0: as short as it can be
	// Sizes are swept: each flow takes the next one with each probe. They are
	// octets of the IP packet, as an MTU is. None: all probes are of Size.
	Sizes []int
}

// mostAtAddress is how many targets may have one address, for it to have no more probes a
// second than one target may; 0 is no bound.
func (o *Options) mostAtAddress(p *Plan) int {
	if o.MaxRatePerTarget == 0 {
		return 0
	}
	flows := float64(p.Count * len(p.Classes))
	return max(1, int(float64(o.MaxRatePerTarget)*o.Timing.Interval.Seconds()/flows))
}

func (o *Options) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	t := o.Timing
	check(t.Interval >= MinInterval, "interval %s is below %s", t.Interval, MinInterval)
	check(t.Timeout > 0, "timeout %s is not above 0", t.Timeout)
	check(t.Late > t.Timeout, "late %s is not above timeout %s", t.Late, t.Timeout)
	check(t.Window == 0 || t.Window >= time.Second, "window %s is below 1s", t.Window)
	check(o.Emit != nil, "no receiver of windows")
	check(o.Plan.Count > 0, "%d source ports a target", o.Plan.Count)
	check(len(o.Plan.Classes) > 0, "no class")
	check(o.MaxCPU >= 0, "max cpu %v is below 0", o.MaxCPU)
	check(o.Plan.Rotate >= 0 && o.Plan.Rotate <= 1, "rotate %v is not from 0 to 1", o.Plan.Rotate)
	check(len(o.Plan.Sizes) <= MaxSizes, "%d sizes, above %d", len(o.Plan.Sizes), MaxSizes)
	check(o.Plan.Size == 0 || len(o.Plan.Sizes) == 0, "both one size and sizes to sweep")
	for _, size := range o.Plan.Sizes {
		check(size >= MinSize && size <= MaxSize, "size %d is not from %d to %d", size, MinSize, MaxSize)
	}
	built := map[templateKey]*stamp.Template{}
	for i := range o.Plan.Targets {
		_, _, err := templateOf(&o.Plan.Targets[i], 1, 0, o.Plan.Size, built)
		check(err == nil, "target %s: %w", o.Plan.Targets[i].Name, err)
	}
	return errors.Join(errs...)
}
