package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

func testResolver(answers map[string][]string) *resolver {
	return &resolver{self: true, host: "me", known: map[string]answer{}, lookup: func(_ context.Context, network, host string) (out []netip.Addr, err error) {
		list, ok := answers[host]
		if !ok {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		for _, s := range list {
			if s == "fail" {
				return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
			}
			a := netip.MustParseAddr(s)
			if network == "ip" || a.Is4() == (network == "ip4") {
				out = append(out, a)
			}
		}
		return out, nil
	}}
}

// look is a round of lookups, to its end.
func (r *resolver) look(targets []probe.Target) ([]endpoint, []TargetState) {
	for a := range r.ask(context.Background(), r.names(targets)) {
		r.take(a)
	}
	return r.resolve(targets)
}

func named(names ...string) (out []probe.Target) {
	for _, n := range names {
		out = append(out, probe.Target{Name: n, Address: n, Port: 862})
	}
	return out
}

func addrs(es []endpoint) (out []string) {
	for _, e := range es {
		out = append(out, e.addr.Addr().String())
	}
	return out
}

func TestResolveKeepsAnAddressWhileItIsInTheAnswer(t *testing.T) {
	answers := map[string][]string{"a": {"127.0.0.1", "127.0.0.2"}}
	r := testResolver(answers)
	ask := func() []string {
		es, _ := r.look(named("a"))
		return addrs(es)
	}
	require.Equal(t, []string{"127.0.0.1"}, ask())
	answers["a"] = []string{"127.0.0.3", "127.0.0.1"}
	require.Equal(t, []string{"127.0.0.1"}, ask(), "still there")
	answers["a"] = []string{"127.0.0.3", "127.0.0.4"}
	require.Equal(t, []string{"127.0.0.3"}, ask(), "gone")
	answers["a"] = []string{"fail"}
	require.Equal(t, []string{"127.0.0.3"}, ask(), "a resolver that fails takes nothing away")
	delete(answers, "a")
	require.Empty(t, ask(), "a name that is no more")
}

func TestResolveFailureHarmsNoOtherTarget(t *testing.T) {
	r := testResolver(map[string][]string{"good": {"127.0.0.1"}, "four": {"127.0.0.4"}})
	es, states := r.look(named("good", "bad", "four", "127.0.0.9"))
	require.Equal(t, []string{"127.0.0.1", "127.0.0.4", "127.0.0.9"}, addrs(es))
	require.ErrorContains(t, states[1].Err, "no such host")
	for _, i := range []int{0, 2, 3} {
		require.NoError(t, states[i].Err)
	}
}

func TestResolveFamilies(t *testing.T) {
	answers := map[string][]string{"a": {"::1", "127.0.0.1"}}
	for family, want := range map[Family][]string{
		FamilyAny: {"::1"}, Family4: {"127.0.0.1"}, Family6: {"::1"}, FamilyBoth: {"127.0.0.1", "::1"},
	} {
		r := testResolver(answers)
		r.family = family
		es, _ := r.look(named("a"))
		require.Equal(t, want, addrs(es))
	}
	r := testResolver(map[string][]string{"a": {"127.0.0.1"}})
	r.family = Family6
	es, states := r.look(named("a"))
	require.Empty(t, es)
	require.ErrorIs(t, states[0].Err, errNoAddress)
}

func TestResolveGuards(t *testing.T) {
	r := testResolver(map[string][]string{"out": {"192.0.2.1"}, "many": {"224.0.0.1"}, "me": {"127.0.0.1"}})
	r.self = false
	r.allow = func(a netip.Addr) bool { return a != netip.MustParseAddr("192.0.2.1") }
	es, states := r.look(named("out", "many", "me"))
	require.Empty(t, es)
	require.ErrorIs(t, states[0].Err, errNotAllowed)
	require.Error(t, states[1].Err)
	require.ErrorIs(t, states[2].Err, errThisHost)
	require.False(t, errors.Is(states[1].Err, errNotAllowed))
}

// Many names for one address are no more of a burden to it than one target may be.
func TestResolveBoundsWhatAnAddressGets(t *testing.T) {
	r := testResolver(map[string][]string{"a": {"127.0.0.1"}, "b": {"::ffff:127.0.0.1"}, "c": {"127.0.0.1"}, "d": {"127.0.0.2"}})
	targets := named("a", "b", "127.0.0.1", "c", "d")
	for _, c := range []struct {
		most int
		want []string
	}{
		{0, []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"}},
		{2, []string{"127.0.0.1", "127.0.0.1", "127.0.0.2"}},
		{1, []string{"127.0.0.1", "127.0.0.2"}},
	} {
		r.most = c.most
		es, states := r.look(targets)
		require.Equal(t, c.want, addrs(es))
		require.Equal(t, len(c.want) < len(targets), errors.Is(states[3].Err, errFull), "%v", states[3].Err)
		require.NoError(t, states[0].Err)
		require.NoError(t, states[4].Err)
	}
	o := Options{MaxRatePerTarget: 1000, Timing: probe.Timing{Interval: time.Second}}
	require.Equal(t, 15, o.mostAtAddress(&Plan{Count: 32, Classes: make([]probe.Class, 2)}))
	require.Equal(t, 1, o.mostAtAddress(&Plan{Count: 1000, Classes: make([]probe.Class, 2)}))
}

// While DNS is silent a new plan counts at once: with addresses, and with names that had an answer.
func TestNewPlanWaitsForNoLookup(t *testing.T) {
	var silent, asked atomic.Bool
	lookup := func(ctx context.Context, _, host string) ([]netip.Addr, error) {
		if host == "late" || host == "kept" && !silent.Load() {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		asked.Store(true)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	o := testOptions(named("kept")...)
	o.Count, o.Emit = 0, func(*probe.Window) {}
	clock, err := newSystemClock()
	require.NoError(t, err)
	c, err := newCollector(o, clock, lookup)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { assert.NoError(t, c.Run(ctx)) })
	defer run.Wait()
	defer cancel()
	update := func(names ...string) {
		for i := range 2 * resolveAtOnce {
			names = append(names, fmt.Sprintf("silent%d", i))
		}
		o.Plan.Targets = named(names...)
		c.Update(o.Plan)
	}
	probed := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var got []string
			for _, s := range c.Targets() {
				if s.Err == nil {
					got = append(got, s.Name)
				}
			}
			return slices.Equal(want, got)
		}, resolveTimeout/2, time.Millisecond)
	}
	probed("kept")
	silent.Store(true)
	update("kept")
	require.Eventually(t, asked.Load, resolveTimeout, time.Millisecond)
	update("kept", "127.0.0.9")
	probed("kept", "127.0.0.9")
	update("late", "kept")
	probed("late", "kept")
}
