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

// manyPrefix is answered by the far host as a whole: every address of it is a target.
var manyPrefix = netip.MustParsePrefix("10.80.0.0/16")

// place is two hosts and the fabric between them.
type place struct {
	lab       *lab.Lab
	near, far *lab.Host
}

func newPlace(ctx context.Context) (_ *place, err error) {
	l, err := lab.New(lab.Options{Hosts: 2, IPv4Only: true})
	if err != nil {
		return nil, err
	}
	p := &place{lab: l, near: l.Host(1), far: l.Host(2)}
	far := p.far.IPv4.String()
	for _, cmd := range []struct {
		in   namespace
		args []string
	}{
		{p.far, []string{"route", "add", "local", manyPrefix.String(), "dev", "lo"}},
		{l.Fabric(), []string{"route", "add", manyPrefix.String(), "via", far}},
	} {
		if out, e := cmd.in.Command(ctx, "ip", cmd.args...).CombinedOutput(); e != nil {
			return nil, errors.Join(fmt.Errorf("ip %s: %w: %s", strings.Join(cmd.args, " "), e, out), l.Close())
		}
	}
	return p, nil
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

// transmitted is how many packets have left by the host's interface.
func transmitted(h *lab.Host) (n uint64, err error) {
	err = h.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			n = link.Attrs().Statistics.TxPackets
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
