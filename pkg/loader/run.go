//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

const (
	renewEvery = time.Second      // the lease and the clock
	ageEvery   = 10 * time.Second // sessions
	// reconcileEvery finds what no message tells of: routes, programs taken off.
	reconcileEvery = 10 * time.Second
	// What happens to interfaces comes in bursts of messages: one look for each.
	settleAfter = 200 * time.Millisecond
)

// Run keeps the programs alive and in place until ctx ends. It does not end them:
// Close does.
func (d *Datapath) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.follower.run(ctx, d.wake) })
	g.Go(func() error { return d.followSteps(ctx) })
	g.Go(func() error { d.keep(ctx); return nil })
	return g.Wait()
}

// keep does what is due, one thing after the other.
func (d *Datapath) keep(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	aged, reconciled := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.woken:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settleAfter):
			}
			reconciled = time.Time{}
		case <-tick.C:
		}
		d.log("renew lease", d.renew())
		now := time.Now()
		if now.Sub(aged) >= ageEvery {
			aged = now
			d.log("age sessions", d.object.ageSessions(monoNow()))
		}
		d.judge(ctx)
		if now.Sub(reconciled) >= reconcileEvery {
			reconciled = now
			d.log("follow interfaces", d.reconcile(ctx))
		}
	}
}

// log tells of what failed, once for as long as it fails in the same way.
func (d *Datapath) log(what string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if d.told[what] != text && text != "" {
		d.options.Log.Error("kernel datapath", "doing", what, "error", err)
	}
	d.told[what] = text
}

// wake has the interfaces looked at soon.
func (d *Datapath) wake() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// renew is the sign of life, and tells the programs what time it is.
func (d *Datapath) renew() error {
	c := d.options.Clock()
	c.WallMinusMono = wallMinusMono()
	return errors.Join(d.object.setClock(c), d.object.setLease(monoNow()+int64(d.options.Lease)))
}

// followSteps tells the programs at once when the wall clock was set.
func (d *Datapath) followSteps(ctx context.Context) error {
	w, err := sock.NewStepWatch()
	if err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() }) // ends Wait
	defer stop()
	for {
		if err := w.Wait(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch the clock: %w", err)
		}
		d.log("renew clock", d.renew())
	}
}

func monoNow() int64 { return clockNow(unix.CLOCK_MONOTONIC) }

func clockNow(clock int32) int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t) // these clocks are always there
	return t.Nano()
}

// wallMinusMono reads both clocks as one: of some tries the one that took the least time.
func wallMinusMono() time.Duration {
	best, offset := int64(1)<<62, int64(0)
	for range 5 {
		before := monoNow()
		wall := clockNow(unix.CLOCK_REALTIME)
		after := monoNow()
		if took := after - before; took < best {
			best, offset = took, wall-(before+took/2)
		}
	}
	return time.Duration(offset)
}
