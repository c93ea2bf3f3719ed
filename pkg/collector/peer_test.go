package collector

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// fate is what the test's network and reflector do to one probe.
type fate uint8

const (
	deliver      fate = iota
	dropForward       // never reaches the reflector
	dropReverse       // answered, the answer is lost
	refuse            // received and not answered
	twiceForward      // duplicated before the reflector, which answers both
	twiceReverse      // the answer is duplicated
	overtaken         // reaches the reflector after the next one
	forgeT1           // the answer returns another T1
	delay             // answered after the timeout, within late
	numFates
)

// A peer is a Session-Reflector on loopback that treats each probe as scripted:
// the counters are real, the faults are exact.
type peer struct {
	conn   *net.UDPConn
	script func(seq uint32) fate
	edit   func(reply []byte) []byte // last touch; nil: none
	// also sends more beside the reply, itself or from a second socket.
	also    func(reply []byte, send, sendFrom2 func([]byte))
	second  *net.UDPConn
	arrived func(request []byte)
	// arrivedFrom likewise, told of the sender.
	arrivedFrom func(request []byte, from netip.AddrPort)

	mu     sync.Mutex // protects the fields below
	rx, tx map[netip.AddrPort]uint32
	held   map[netip.AddrPort][]byte
	done   [numFates]int
}

func newPeer(t *testing.T, listen string, script func(seq uint32) fate, with ...func(*peer)) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(listen)))
	require.NoError(t, err)
	p := &peer{conn: conn, script: script, rx: map[netip.AddrPort]uint32{}, tx: map[netip.AddrPort]uint32{}, held: map[netip.AddrPort][]byte{}}
	for _, f := range with {
		f(p)
	}
	var served sync.WaitGroup
	served.Go(p.serve)
	t.Cleanup(func() {
		_ = conn.Close() // a test may have done so
		served.Wait()
	})
	return p
}

func (p *peer) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *peer) serve() {
	b := make([]byte, 65536)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		var s stamp.SenderPacket
		if stamp.DecodeSender(&s, b[:n]) != nil {
			continue
		}
		if p.arrived != nil {
			p.arrived(b[:n])
		}
		if p.arrivedFrom != nil {
			p.arrivedFrom(b[:n], from)
		}
		do := deliver
		if p.script != nil {
			do = p.script(s.Seq)
		}
		p.mu.Lock()
		p.done[do]++
		held := p.held[from]
		delete(p.held, from)
		if do == overtaken {
			p.held[from] = append([]byte(nil), b[:n]...)
		} else {
			p.answer(append([]byte(nil), b[:n]...), from, do)
		}
		if held != nil {
			p.answer(held, from, deliver)
		}
		p.mu.Unlock()
	}
}

func (p *peer) answer(b []byte, from netip.AddrPort, do fate) {
	switch do {
	case dropForward:
		return
	case refuse:
		p.rx[from]++
		return
	case twiceForward:
		p.answer(append([]byte(nil), b...), from, deliver)
	}
	p.rx[from]++
	p.tx[from]++
	now := stamp.NTP.FromUnixNano(time.Now().UnixNano())
	a := stamp.Arrival{Receive: now, TTL: 250, DSCP: 46, Rx: p.rx[from], Tx: p.tx[from], ErrorEstimate: stamp.NewErrorEstimate(false, stamp.NTP, 1000)}
	r, err := stamp.Reflect(b, &a, nil)
	if err != nil {
		return
	}
	r.Finish(b, stamp.NTP.FromUnixNano(time.Now().UnixNano()), nil)
	if p.edit != nil {
		b = p.edit(b)
	}
	if p.also != nil {
		p.also(b, func(x []byte) { _, _ = p.conn.WriteToUDPAddrPort(x, from) },
			func(x []byte) { _, _ = p.second.WriteToUDPAddrPort(x, from) })
	}
	send := func() { _, _ = p.conn.WriteToUDPAddrPort(b, from) }
	switch do {
	case dropReverse:
		return
	case twiceReverse:
		send()
	case forgeT1:
		b[30] ^= 1
	case delay:
		time.AfterFunc(testTiming.Timeout+150*time.Millisecond, send)
		return
	}
	send()
}

// A probe is an overrun, and not sent, when it is late by more than the interval:
// this one is longer than a busy machine stalls.
var testTiming = probe.Timing{Interval: 250 * time.Millisecond, Timeout: 400 * time.Millisecond, Late: 900 * time.Millisecond}

func target(name string, to netip.AddrPort) probe.Target {
	return probe.Target{Name: name, Address: to.Addr().Unmap().String(), Port: to.Port(), TLV: true, SSID: true}
}

func kernelPorts(n int) []uint16 { return make([]uint16, n) }

// testOptions: 4 flows of 10 probes each.
func testOptions(targets ...probe.Target) Options {
	return Options{
		Host: "here", Timing: testTiming, Self: true, Count: 10, AllFlow: true,
		Plan: Plan{Targets: targets, Classes: []probe.Class{{Name: "ef", DSCP: 46}}, Ports: kernelPorts, Count: 4},
	}
}

// measure runs a collector to its end and returns its windows, each checked
// against the identities. Where the machine stood still for so long that a probe was
// not sent, it may try again: what is to be shown stays the same.
func measure(t *testing.T, o Options, change ...func(*Collector)) (windows []*probe.Window, c *Collector) {
	t.Helper()
	for range 3 {
		if windows, c = measureOnce(t, o, change...); c.Stats()["not_sent_overrun"] == 0 {
			break
		}
	}
	return windows, c
}

func measureOnce(t *testing.T, o Options, change ...func(*Collector)) (windows []*probe.Window, c *Collector) {
	t.Helper()
	o.Emit = func(w *probe.Window) { windows = append(windows, w) }
	c, err := New(o)
	require.NoError(t, err)
	for _, f := range change {
		f(c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, c.Run(ctx))
	require.NoError(t, ctx.Err(), "the collector did not end by itself")
	for _, w := range windows {
		for i := range w.Paths {
			require.NoError(t, w.Paths[i].Check())
			for j := range w.Paths[i].FlowDetail {
				require.NoError(t, w.Paths[i].FlowDetail[j].Check())
			}
		}
	}
	return windows, c
}

func onePath(t *testing.T, windows []*probe.Window) *probe.Path {
	t.Helper()
	require.Len(t, windows, 1)
	require.Len(t, windows[0].Paths, 1)
	return &windows[0].Paths[0]
}
