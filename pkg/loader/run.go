//go:build linux

package loader

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

const (
	renewEvery = time.Second      // the lease and the clock
	judgeEvery = time.Second      // the steps
	ageEvery   = 10 * time.Second // sessions
	// reconcileEvery finds what no message tells of: routes, programs taken off.
	reconcileEvery = 10 * time.Second
	// What happens to interfaces comes in bursts of messages: one look for each.
	settleAfter = 200 * time.Millisecond
)

// Run keeps the programs alive and in place until ctx ends. It does not end them:
// Close does. What fails is logged, and does not keep the rest from going on: what
// nobody tells of is looked for now and then.
func (d *Datapath) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.notices.tell("follow interfaces by messages", d.follower.run(ctx, d.wake)) })
	wg.Go(func() { d.notices.tell("watch the clock", d.followSteps(ctx)) })
	wg.Go(func() { d.live(ctx) })
	wg.Go(func() { d.keep(ctx) })
	wg.Wait()
	return nil
}

// live gives the signs of life, also while keep waits for a link.
func (d *Datapath) live(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.notices.tell("renew lease", d.renew())
		}
	}
}

// keep does what is due, one thing after the other.
func (d *Datapath) keep(ctx context.Context) {
	tick := time.NewTicker(judgeEvery)
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
			d.judge(ctx)
		}
		if time.Since(aged) >= ageEvery {
			aged = time.Now()
			d.notices.tell("age sessions", d.object.ageSessions(monoNow()))
		}
		if time.Since(reconciled) >= reconcileEvery {
			reconciled = time.Now()
			d.notices.tell("follow interfaces", d.reconcile(ctx))
		}
	}
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
	d.mu.Lock()
	defer d.mu.Unlock()
	until := monoNow() + int64(d.options.Lease)
	if d.old {
		until = 0
	}
	return errors.Join(d.object.setClock(c), d.object.setLease(until))
}

// followSteps tells the programs at once when the wall clock was set.
func (d *Datapath) followSteps(ctx context.Context) error {
	w, err := sock.NewStepWatch()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() }) // ends Wait
	defer stop()
	for {
		if err := w.Wait(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		d.notices.tell("renew clock", d.renew())
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
