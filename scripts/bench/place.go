package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// The cores: what is measured has one for itself.
const (
	otherCore    = 0
	measuredCore = 1
)

// fabricLink is every host's interface to the fabric.
const fabricLink = "eth0"

// manyPrefix is answered by the far host as a whole: every address of it is a target.
var manyPrefix = netip.MustParsePrefix("10.80.0.0/16")

// place is two hosts, the fabric between them, and a cable beside it.
type place struct {
	lab       *lab.Lab
	near, far *lab.Host
	cable     *lab.Cable
	link      string // by which the hosts reach each other
}

func newPlace(ctx context.Context) (_ *place, err error) {
	l, err := lab.New(lab.Options{Hosts: 2, IPv4Only: true})
	if err != nil {
		return nil, err
	}
	p := &place{lab: l, near: l.Host(1), far: l.Host(2), link: fabricLink}
	if p.cable, err = l.Cable(p.near, p.far); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	far := p.far.IPv4.String()
	if err := errors.Join(
		ip(ctx, p.far, "route", "add", "local", manyPrefix.String(), "dev", "lo"),
		ip(ctx, l.Fabric(), "route", "add", manyPrefix.String(), "via", far),
	); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return p, nil
}

func ip(ctx context.Context, in namespace, args ...string) error {
	if out, err := in.Command(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// cabled runs fn while the hosts reach each other, at the addresses that they always have, by the cable: what the
// fabric's forwarding costs the core that sends is then in no figure.
func (p *place) cabled(ctx context.Context, fn func() error) (err error) {
	routes := []struct {
		in   *lab.Host
		args []string
	}{
		{p.near, []string{p.far.IPv4.String(), "via", p.cable.B.String(), "src", p.near.IPv4.String()}},
		{p.near, []string{manyPrefix.String(), "via", p.cable.B.String(), "src", p.near.IPv4.String()}},
		{p.far, []string{p.near.IPv4.String(), "via", p.cable.A.String(), "src", p.far.IPv4.String()}},
	}
	p.link = p.cable.Link
	defer func() { p.link = fabricLink }()
	for _, r := range routes {
		if err := ip(ctx, r.in, append([]string{"route", "add"}, r.args...)...); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ip(ctx, r.in, append([]string{"route", "del"}, r.args...)...)) }()
	}
	return fn()
}

// farPort is the fabric's port to the far host.
func (p *place) farPort() string { return "p-" + p.far.Name }

func (p *place) close() error { return p.lab.Close() }

// many returns address i of manyPrefix.
func many(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 80, byte(i / 250), byte(i%250 + 1)})
}

// udpCounters reads the kernel's UDP counters of a host's namespace.
func udpCounters(h *lab.Host) (map[string]uint64, error) {
	var text []byte
	err := h.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		out := map[string]uint64{}
		for i := 1; i < min(len(f), len(names)); i++ {
			if out[names[i]], err = strconv.ParseUint(f[i], 10, 64); err != nil {
				return nil, fmt.Errorf("read UDP counters: %w", err)
			}
		}
		return out, nil
	}
	return nil, errors.New("read UDP counters: none there")
}

// transmitted is how many packets have left by that interface of the host.
func transmitted(h *lab.Host, link string) (n uint64, err error) {
	err = h.Do(func() error {
		l, err := netlink.LinkByName(link)
		if err == nil {
			n = l.Attrs().Statistics.TxPackets
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read packets sent: %w", err)
	}
	return n, nil
}

// waitBound returns when some socket of the host has the UDP port.
func waitBound(h *lab.Host, port int) error {
	want := fmt.Sprintf(":%04X ", port)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		bound := false
		err := h.Do(func() error {
			for _, name := range []string{"udp", "udp6"} {
				text, err := os.ReadFile("/proc/thread-self/net/" + name)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
				bound = bound || strings.Contains(string(text), want)
			}
			return nil
		})
		if err != nil || bound {
			return err
		}
	}
	return fmt.Errorf("nothing listens on port %d after 5 s", port)
}
