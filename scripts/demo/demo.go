//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// The fault: this share of the packets towards this host.
const (
	dropRatio = 0.02
	faultHost = 3
)

// settle bounds the wait, in a round's plan, for the lines of a window: its
// length, late, and a little for writing.
const settle = window + late + 200*time.Millisecond

// demo is a lab with agents that are being watched.
type demo struct {
	screen *screen
	hosts  []string
	paths  []path
	agents []*agent
	tally  *tally
	start  time.Time

	faulty  string                 // the host that the fault is towards
	dropped func() (uint64, error) // the kernel's counter; nil while there is no fault
	fault   func() (*lab.Fault, error)
}

func run(ctx context.Context, o options, out *screen) (err error) {
	dir, err := os.MkdirTemp("", "llama-demo-")
	if err != nil {
		return fmt.Errorf("make temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.loopback {
		out.say("Not root: no namespaces and no fault, one llama-agent probes 127.0.0.1 for %s instead.", o.length)
		return runLoopback(ctx, o, dir, out)
	}
	out.say("Three hosts (network namespaces), a llama-agent in each, all pairs in two classes.")
	out.say("After half of %s the fabric drops 2 %% towards h%d: is it found? Nothing stays.", o.length, faultHost)
	l, err := lab.New(lab.Options{Hosts: 3, IPv4Only: true})
	if errors.Is(err, unix.EPERM) {
		out.say("No right to make namespaces (CAP_SYS_ADMIN): one llama-agent probes 127.0.0.1 instead, without a fault.")
		return runLoopback(ctx, o, dir, out)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d := newDemo(l, out)
	if err := d.tryFault(); err != nil {
		return fmt.Errorf("this kernel lacks nftables (modules nf_tables and nft_numgen), so nothing can be dropped: %w", err)
	}
	pins := filepath.Join(dir, "bpf")
	if unmount, err := lab.MountBPF(pins); err == nil {
		defer func() { _ = unmount() }() // the folder goes, or says that it cannot
		out.say("Each host reflects in its kernel (TC, as veth has it) what it can, and over sockets the rest.")
	} else {
		pins = ""
		out.say("No BPF file system is to be had (%v): reflecting over sockets.", err)
	}
	defer func() { err = errors.Join(err, stopAgents(d.agents)) }()
	if err := d.startAgents(l, o.agent, dir, pins); err != nil {
		return err
	}
	return d.rounds(ctx, o)
}

func newDemo(l *lab.Lab, out *screen) *demo {
	d := &demo{screen: out, tally: newTally(), start: time.Now()}
	for _, h := range l.Hosts() {
		d.hosts = append(d.hosts, h.Name)
	}
	d.paths = mesh(d.hosts)
	to := l.Host(faultHost)
	d.faulty = to.Name
	d.fault = func() (*lab.Fault, error) { return l.Fabric().Drop(lab.Rule{To: to, Ratio: dropRatio}) }
	return d
}

// tryFault finds out before anything is shown whether the kernel can do it.
func (d *demo) tryFault() error {
	f, err := d.fault()
	if err != nil {
		return err
	}
	return f.Remove()
}

func (d *demo) startAgents(l *lab.Lab, program, dir, pins string) error {
	for _, h := range l.Hosts() {
		var targets []target
		for _, t := range l.Hosts() {
			if t != h {
				targets = append(targets, target{t.Name, t.IPv4.String()})
			}
		}
		pin := ""
		if pins != "" {
			pin = filepath.Join(pins, h.Name)
		}
		a, err := startAgent(h.Command, program, dir, h.Name, configOf(h.Name, ":862", 862, pin, targets), d.tally.take)
		if err != nil {
			return err
		}
		d.agents = append(d.agents, a)
	}
	return nil
}

// rounds runs one round, or rounds until ctx ends.
func (d *demo) rounds(ctx context.Context, o options) error {
	for found := 0; ; found++ {
		err := d.round(ctx, o.length)
		if o.forever && found > 0 && errors.Is(err, errInterrupted) {
			d.screen.say("ended after %d rounds, all found", found)
			return nil
		}
		if err != nil || !o.forever {
			return err
		}
		d.tally.begin()
	}
}
