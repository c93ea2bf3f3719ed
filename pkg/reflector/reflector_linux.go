package reflector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llama-agent/llama-agent/internal/sock"
)

// shared is what all workers look at.
type shared struct {
	options  Options
	log      *slog.Logger
	start    time.Time // of the monotonic clock of rates and sessions
	policy   atomic.Pointer[policy]
	clock    atomic.Pointer[ClockState]
	limiters *limiters
	notices  notices
}

// Reflector is a Session-Reflector on UDP sockets. Its methods may be called
// from any goroutine.
type Reflector struct {
	shared  *shared
	workers []*worker
	addrs   []netip.AddrPort
	used    atomic.Bool // by Run or Close

	mu sync.Mutex // orders Update
}

// New binds every address, so that what cannot be bound is known before anything
// runs: see ErrInUse, ErrPermission and ErrNoAddress. From here on the kernel
// queues requests. The caller calls Run or Close.
func New(o Options, log *slog.Logger) (*Reflector, error) {
	if len(o.Listen) == 0 {
		return nil, ErrNoListen
	}
	r := &Reflector{shared: newShared(o, log)}
	// A wrong policy is told before sockets are opened.
	if _, err := compile(&o.Policy, nil); err != nil {
		return nil, err
	}
	for _, a := range o.Legacy {
		if slices.ContainsFunc(o.Listen, func(l netip.AddrPort) bool { return l.Port() == a.Port() }) {
			return nil, fmt.Errorf("listen on udp %s: either for STAMP's probes or for those of LLAMA", a)
		}
	}
	addrs := append(expand(o.Listen, false), expand(o.Legacy, true)...)
	if err := r.probe(addrs); err != nil {
		return nil, err
	}
	err := r.open(addrs)
	if err == nil {
		err = r.Update(o.Policy)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	sock.AwaitStamps()
	return r, nil
}

func newShared(o Options, log *slog.Logger) *shared {
	o.setDefaults(runtime.GOMAXPROCS(0))
	s := &shared{options: o, log: log, start: time.Now(), limiters: newLimiters()}
	s.setClock()
	return s
}

// Addrs are the addresses that are bound, ports chosen by the kernel included.
func (r *Reflector) Addrs() []netip.AddrPort { return slices.Clone(r.addrs) }

// Update replaces the policy for the batches to come; on an error the old one
// stays. Sessions of sources that are still allowed go on with their counters.
func (r *Reflector) Update(p Policy) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ports := make([]uint16, 0, len(r.addrs))
	for _, a := range r.addrs {
		ports = append(ports, a.Port())
	}
	c, err := compile(&p, ports)
	if err != nil {
		return err
	}
	r.shared.policy.Store(c)
	return nil
}

// Run answers until ctx ends, and returns when every worker has finished its
// batch and the sockets are closed. It can be called once.
func (r *Reflector) Run(ctx context.Context) error {
	if r.used.Swap(true) {
		return ErrRunning
	}
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Go(w.run)
	}
	r.keepClock(ctx)
	for _, w := range r.workers {
		w.shutdown()
	}
	wg.Wait()
	return r.closeSockets()
}

// Close ends a Reflector that Run was never called on; otherwise it does nothing.
func (r *Reflector) Close() error {
	if r.used.Swap(true) {
		return nil
	}
	return r.closeSockets()
}

func (r *Reflector) closeSockets() error {
	var errs []error
	for _, w := range r.workers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}

// keepClock follows the state of the host's clock until ctx ends.
func (r *Reflector) keepClock(ctx context.Context) {
	tick := time.NewTicker(clockPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.shared.setClock()
		}
	}
}

func (s *shared) setClock() {
	c := s.options.Clock()
	s.clock.Store(&c)
}

// Stats is the sum over the workers. Workers that run may be between two of
// their counters.
func (r *Reflector) Stats() Stats {
	var s Stats
	for _, w := range r.workers {
		w.count.addTo(&s)
		s.Evicted += w.peers.evicted.Load() + w.strangers.evicted.Load()
		s.PeerSessions += uint64(w.peers.n.Load())
		s.StrangerSessions += uint64(w.strangers.n.Load())
		s.KernelDrops += uint64(w.kernelDrops())
	}
	return s
}
