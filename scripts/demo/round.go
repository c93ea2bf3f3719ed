//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// frame is the time between two pictures.
const frame = 250 * time.Millisecond

// round is half a time of quiet, then the fault, then the verdict.
func (d *demo) round(ctx context.Context, length time.Duration) error {
	d.dropped = nil
	begun := time.Now()
	quiet := func(s *state, now time.Time) bool { // a whole window of it has been told, too
		return s.complete(d.paths, begun.Add(window)) && now.Sub(begun) >= length/2
	}
	if err := d.watch(ctx, "nothing is dropped", length/2+10*time.Second, quiet); err != nil {
		return err
	}
	f, err := d.fault()
	if err != nil {
		return err
	}
	d.dropped = func() (uint64, error) {
		packets, _, err := f.Count()
		return packets, err
	}
	// The rest of the time but for the wait for the last lines.
	lasting := max(length/2-settle, 2*time.Second)
	added := time.Now()
	over := func(_ *state, now time.Time) bool { return now.Sub(added) >= lasting }
	doing := fmt.Sprintf("the fabric drops 2 %% towards %s", d.faulty)
	if err := d.watch(ctx, doing, lasting+10*time.Second, over); err != nil {
		return err
	}
	if err := f.Remove(); err != nil {
		return err
	}
	removed := time.Now()
	told := func(s *state, _ time.Time) bool { return s.complete(d.paths, removed) }
	if err := d.watch(ctx, "nothing is dropped any more; the last lines come", settle+10*time.Second, told); err != nil {
		return err
	}
	return d.judge()
}

// watch shows the picture until something is so, and fails if that takes longer
// than it may or an agent has ended.
func (d *demo) watch(ctx context.Context, doing string, most time.Duration, until func(*state, time.Time) bool) error {
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for end := time.Now().Add(most); ; {
		s, err := d.tally.now()
		if err != nil {
			return err
		}
		for _, a := range d.agents {
			if err := a.alive(); err != nil {
				return err
			}
		}
		now := time.Now()
		reached := until(&s, now)
		if err := d.show(&s, doing, reached); err != nil || reached {
			return err
		}
		if now.After(end) {
			return fmt.Errorf("the agents told nothing of some pairs for %s", most)
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-tick.C:
		}
	}
}

func (d *demo) show(s *state, doing string, moment bool) error {
	picture := append([]row{{}, heading(time.Since(d.start), doing)}, tableOf(d.paths, s)...)
	if d.dropped != nil {
		n, err := d.dropped()
		if err != nil {
			return err
		}
		l := lossesOf(d.hosts, s)
		picture = append(picture, faultRows(d.faulty, n, &l)...)
	}
	d.screen.draw(picture, moment)
	return nil
}

// judge says whether the agents found the fault.
func (d *demo) judge() error {
	s, err := d.tally.now()
	if err != nil {
		return err
	}
	n, err := d.dropped()
	if err != nil {
		return err
	}
	if s.worst != "" {
		d.screen.say("a line that a database gets:\n%s", s.worst)
	}
	l := lossesOf(d.hosts, &s)
	text, found := l.verdict(d.faulty, n)
	d.screen.say("%s", text)
	if !found {
		return errNotFound
	}
	return nil
}
