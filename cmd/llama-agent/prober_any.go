package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// lookup is net.Resolver.LookupNetIP; tests give other answers.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// lookupTime bounds how long a name may take.
const lookupTime = 2 * time.Second

// stranger makes a target of what /probe was asked for and the configuration does not name. A name is
// looked up once, here, and what is probed is the address that was judged: a second answer may be
// another one. It is nil where a name has no address, of which no probe can tell more.
func (p *prober) stranger(ctx context.Context, cfg *config.Config, asked string) (*probe.Target, error) {
	t, err := config.ParseTarget(asked)
	if err != nil {
		return nil, fmt.Errorf("target is %w: %w", sink.ErrNotConfigured, err)
	}
	addrs, err := p.addresses(ctx, cfg, t.Address)
	if err != nil {
		return nil, nil
	}
	allow := collectorOptions(cfg).Allow
	for _, a := range addrs {
		// One of several would do for a name that leads both inside and outside, but which one it
		// means is not for us to guess.
		if !allow(a) {
			return nil, fmt.Errorf("target %.100q: %s is %w", asked, a, sink.ErrNotAllowed)
		}
	}
	t.Address = addrs[0].String()
	return &t, nil
}

// addresses are those of a host, of the family that is probed; one at least.
func (p *prober) addresses(ctx context.Context, cfg *config.Config, host string) ([]netip.Addr, error) {
	network := map[config.Family]string{config.Family4: "ip4", config.Family6: "ip6"}[cfg.Probing.Family]
	if network == "" {
		network = "ip"
	}
	resolve := p.resolve
	if resolve == nil {
		resolve = net.DefaultResolver.LookupNetIP
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := resolve(ctx, network, host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("resolve %q: no address", host)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, err
}

const (
	strangersAtOnce = 4
	strangersAsking = 16 // those who wait included
	strangersApart  = 250 * time.Millisecond
)

// A turnstile lets a few in at once, each some time after the one before, and some wait: what can be aimed at
// others by it is bounded, whoever asks.
type turnstile struct {
	mu     sync.Mutex    // protects the fields below
	places chan struct{} // has one for each that is inside
	asking int
	next   time.Time // not before
}

func (s *turnstile) enter(ctx context.Context) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking >= strangersAsking {
		return nil, fmt.Errorf("%d ask for targets that are not configured: %w", strangersAsking, sink.ErrBusy)
	}
	if s.places == nil {
		s.places = make(chan struct{}, strangersAtOnce)
	}
	s.asking++
	s.mu.Unlock()
	err = s.wait(ctx)
	s.mu.Lock()
	if err != nil {
		s.asking--
		return nil, err
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking--
		<-s.places
	}, nil
}

// wait returns in a place, and not before its turn.
func (s *turnstile) wait(ctx context.Context) error {
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("no place for a target that is not configured: %w", sink.ErrBusy)
	}
	s.mu.Lock()
	turn := time.Now()
	if turn.Before(s.next) {
		turn = s.next
	}
	s.next = turn.Add(strangersApart)
	s.mu.Unlock()
	select {
	case <-time.After(time.Until(turn)):
		return nil
	case <-ctx.Done():
		<-s.places
		return fmt.Errorf("no turn for a target that is not configured: %w", sink.ErrBusy)
	}
}
