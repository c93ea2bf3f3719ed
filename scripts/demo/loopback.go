//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"time"
)

// runLoopback is what can be shown without namespaces: an agent that probes itself.
func runLoopback(ctx context.Context, o options, dir string, out *screen) (err error) {
	port, err := freePort()
	if err != nil {
		return err
	}
	const self, far = "here", "loop"
	d := &demo{screen: out, tally: newTally(), start: time.Now()}
	for _, class := range classes {
		d.paths = append(d.paths, path{self, far, class})
	}
	config := configOf(self, fmt.Sprintf("127.0.0.1:%d", port), port, "", []target{{far, "127.0.0.1"}})
	a, err := startAgent(exec.CommandContext, o.agent, dir, self, config, d.tally.take)
	if err != nil {
		return err
	}
	d.agents = []*agent{a}
	defer func() { err = errors.Join(err, stopAgents(d.agents)) }()
	begun := time.Now()
	over := func(s *state, now time.Time) bool {
		return !o.forever && s.complete(d.paths, begun.Add(window)) && now.Sub(begun) >= o.length
	}
	most := o.length + 10*time.Second
	if o.forever {
		most = 1 << 62
	}
	if err := d.watch(ctx, "127.0.0.1", most, over); err != nil && !(o.forever && errors.Is(err, errInterrupted)) {
		return err
	}
	s, err := d.tally.now()
	if err != nil {
		return err
	}
	c := s.sum()
	out.say("loopback: %d probes sent, %d lost", c.sent, c.lost)
	if c.lost > 0 {
		return errNotFound
	}
	return nil
}

// freePort is a UDP port of 127.0.0.1 that nothing listens on.
func freePort() (uint16, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}
