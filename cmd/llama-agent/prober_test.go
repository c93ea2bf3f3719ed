package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

func proberOf(t *testing.T, text string) *prober {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte("host: {name: h}\n"+text))
	require.NoError(t, err)
	p := &prober{}
	p.use(cfg)
	return p
}

func TestProberKnowsWhatIsConfigured(t *testing.T) {
	p := proberOf(t, "classes: {be: 0, ef: 46}\nprobing: {classes: [be, ef]}\ntargets: {a: {address: 10.0.0.1}}\n")
	for _, name := range []string{"b", "", "A", "10.0.0.1"} {
		_, err := p.probe(t.Context(), sink.ProbeRequest{Target: name, Trusted: true})
		require.ErrorIs(t, err, sink.ErrNotConfigured, name)
	}
	_, err := p.probe(t.Context(), sink.ProbeRequest{Target: "a", Class: "af11"})
	require.ErrorIs(t, err, sink.ErrNotConfigured)
	classes, err := classesAsked(p.cfg, "ef")
	require.NoError(t, err)
	require.Len(t, classes, 1)
	classes, err = classesAsked(p.cfg, "")
	require.NoError(t, err)
	require.Len(t, classes, 2)
	_, err = new(prober).probe(t.Context(), sink.ProbeRequest{Target: "a"})
	require.ErrorIs(t, err, sink.ErrBusy)
}

// A target is measured for one at a time, and so many targets at once.
func TestProberBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &prober{}
		var leaves []func()
		for i := range probesAtOnce {
			leave, err := p.enter(t.Context(), fmt.Sprint(i))
			require.NoError(t, err)
			leaves = append(leaves, leave)
		}
		_, err := p.enter(t.Context(), "one more")
		require.ErrorIs(t, err, sink.ErrBusy)

		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.enter(soon, "0")
		require.ErrorIs(t, err, sink.ErrBusy, "it was waited for")
		go func() {
			time.Sleep(time.Second)
			leaves[0]()
		}()
		leave, err := p.enter(t.Context(), "0")
		require.NoError(t, err)
		leave()
		for _, leave := range leaves[1:] {
			leave()
		}
		require.Empty(t, p.busy)
	})
}

// An address has no more probes for having several names.
func TestProberCountsAnAddressOnce(t *testing.T) {
	p := proberOf(t, "probing: {ports: 10}\ntargets: {a: {address: 10.0.0.1}, b: {address: 10.0.0.1, port: 8620}, c: {address: 10.0.0.2}}\n")
	mapped, err := config.ParseTarget("[::ffff:10.0.0.1]:8621") // as /probe may ask for it
	require.NoError(t, err)
	target, _ := p.cfg.Spare(&mapped)
	require.Equal(t, float64(p.cfg.Probing.MaxRatePerTarget-20), target)
	target, all := p.cfg.Spare(&p.cfg.Targets[1])
	require.Equal(t, float64(p.cfg.Probing.MaxRatePerTarget-20), target)
	require.Equal(t, float64(p.cfg.Probing.MaxRate-30), all)
	target, _ = p.cfg.Spare(&p.cfg.Targets[2])
	require.Equal(t, float64(p.cfg.Probing.MaxRatePerTarget-10), target)
}

// Whatever the scraper's patience and the configured rates are, a measurement keeps to both.
func TestProberKeepsToTimeAndRates(t *testing.T) {
	of := func(probing string, room time.Duration) (interval, sending time.Duration, count int, err error) {
		p := proberOf(t, "probing: {"+probing+"}\ntargets: {a: {address: 10.0.0.1}}\n")
		o, most, err := probeOptions(room, p.cfg, &p.cfg.Targets[0], p.cfg.Probing.Classes)
		require.LessOrEqual(t, most+o.Timing.Late, room)
		return o.Timing.Interval, most, o.Count, err
	}
	for name, c := range map[string]struct {
		probing  string
		room     time.Duration
		interval time.Duration // 0: there is no room
		count    int
	}{
		"default":       {"ports: 32", 10 * time.Second, 50 * time.Millisecond, 10},
		"hurried":       {"ports: 32", 200 * time.Millisecond, 50 * time.Millisecond, 2},
		"2/s are left":  {"ports: 32, max_rate_per_target: 34", 9 * time.Second, 500 * time.Millisecond, 10},
		"none is left":  {"ports: 32, max_rate_per_target: 32", 9 * time.Second, 0, 0},
		"none for all":  {"ports: 32, max_rate_per_target: 40, max_rate: 32", 9 * time.Second, 0, 0},
		"80/s for all":  {"ports: 20, max_rate_per_target: 40, max_rate: 100", 9 * time.Second, 200 * time.Millisecond, 10},
		"no time for 1": {"ports: 32, max_rate_per_target: 33", time.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			interval, sending, count, err := of(c.probing, c.room)
			if c.interval == 0 {
				require.ErrorIs(t, err, sink.ErrBusy)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.interval, interval)
			require.Equal(t, c.count, count)
			require.LessOrEqual(t, time.Duration(count-1)*interval, sending)
		})
	}
}
