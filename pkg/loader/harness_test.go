//go:build linux

package loader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A test run without a context comes in by the first interface of the namespace.
const testIfindex = 1

const testPort = 862

var (
	hostMAC  = [6]byte{2, 0, 0, 0, 0, 1}
	peerMAC  = [6]byte{2, 0, 0, 0, 0, 2}
	host4    = netip.MustParseAddr("10.0.0.1")
	peer4    = netip.MustParseAddr("10.0.0.2")
	guest4   = netip.MustParseAddr("10.1.0.2")
	other4   = netip.MustParseAddr("192.0.2.9") // not allowed
	cast4    = netip.MustParseAddr("10.0.0.255")
	host6    = netip.MustParseAddr("fd00::1")
	peer6    = netip.MustParseAddr("fd00::2")
	guest6   = netip.MustParseAddr("fd01::2")
	link6    = netip.MustParseAddr("fe80::1")
	linked6  = netip.MustParseAddr("fe80::2")
	estimate = stamp.NewErrorEstimate(true, stamp.NTP, 5000)

	testLocal = []netip.Addr{host4, host6, link6}
)

func testPolicy() *Policy {
	return &Policy{
		Ports: []uint16{testPort, 8620}, ReflectorPorts: []uint16{9000},
		Allow:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10")},
		Peers:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")},
		PeerRate: 100_000, StrangerRate: 100_000, SessionsPerPeer: 4096,
	}
}

// kinds are the programs, and what they return for each action.
var kinds = []struct {
	name                      string
	kind                      programKind
	pass, drop, reply, aborts uint32
}{
	{"native", progXDP, 2, 1, 3, 0},
	{"generic", progXDPGeneric, 2, 1, 3, 0},
	{"tc", progTC, ^uint32(0), 2, 7, 2},
}

// rig is the programs with maps of their own, and the policy of testPolicy.
type rig struct {
	*object
	t        testing.TB
	toProbes bool          // packets are to the ports of probes, and not counted at the interface
	offset   time.Duration // wall clock - monotonic clock
	clock    stamp.Clock
}

func newSpec(t testing.TB) *ebpf.CollectionSpec {
	t.Helper()
	lab.Require(t, lab.Root)
	require.NoError(t, rlimit.RemoveMemlock())
	spec, err := loadBpf()
	require.NoError(t, err)
	require.NoError(t, fit(spec))
	return spec
}

// newRig is a rig as if it were loaded just now.
func newRig(t testing.TB) *rig {
	t.Helper()
	lab.Require(t, lab.Root)
	require.NoError(t, rlimit.RemoveMemlock())
	o, err := loaded()
	requireVerified(t, err)
	o.makeNew(t)
	return rigOf(t, o)
}

// newRigOf is a rig of an object of its own, from a spec that the test changes.
func newRigOf(t testing.TB, change func(*ebpf.CollectionSpec)) *rig {
	t.Helper()
	spec := newSpec(t)
	unpinned(spec)
	change(spec)
	o, err := newObject(spec, "")
	requireVerified(t, err)
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	return rigOf(t, o)
}

func requireVerified(t testing.TB, err error) {
	t.Helper()
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) {
		t.Fatalf("%+v", ve)
	}
	require.NoError(t, err)
}

func rigOf(t testing.TB, o *object) *rig {
	t.Helper()
	r := &rig{object: o, t: t}
	require.NoError(t, o.setPolicy(testPolicy()))
	require.NoError(t, o.setLocal(testLocal, cast4))
	require.NoError(t, o.setInterface(testIfindex, []net.HardwareAddr{hostMAC[:]}, false))
	r.setClock(ClockState{Estimate: estimate})
	r.arm()
	return r
}

func (r *rig) arm() { require.NoError(r.t, r.setLease(monotonic()+int64(time.Hour))) }

// setClock sets the state's offset to what it is here.
func (r *rig) setClock(c ClockState) {
	if c.WallMinusMono == 0 {
		c.WallMinusMono = time.Duration(time.Now().UnixNano() - monotonic())
	}
	r.offset, r.clock = c.WallMinusMono, stamp.Clock{TAIOffset: c.TAIOffset}
	if c.PTP {
		r.clock.Format = stamp.PTPv2
	}
	require.NoError(r.t, r.object.setClock(c))
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// run is one test run: what the program returned, and the frame after it.
func (r *rig) run(k programKind, frame []byte) (uint32, []byte) {
	r.t.Helper()
	return r.runWith(k, frame, nil)
}

func (r *rig) runWith(k programKind, frame []byte, context any) (uint32, []byte) {
	r.t.Helper()
	out := make([]byte, len(frame)+256)
	opts := ebpf.RunOptions{Data: frame, DataOut: out, Context: context}
	ret, err := r.program(k).Run(&opts)
	require.NoError(r.t, err)
	return ret, opts.DataOut
}

// must runs the frame and checks action, and that nothing but the one reason was
// counted, in all counters and at the interface.
func (r *rig) must(kind int, frame []byte, reason string) []byte {
	r.t.Helper()
	return r.mustWith(kind, frame, nil, reason)
}

func (r *rig) mustWith(kind int, frame []byte, context any, reason string) []byte {
	r.t.Helper()
	before, ifBefore := r.snapshot()
	k := &kinds[kind]
	ret, out := r.runWith(k.kind, frame, context)
	after, ifAfter := r.snapshot()

	action, want, ifWant := "pass", k.pass, InterfaceCounters{Seen: 1, PassedUp: 1}
	switch reason {
	case "replied", "stateless", "legacy":
		action, want, ifWant = "reply", k.reply, InterfaceCounters{Seen: 1, Answered: 1}
	case "port_low", "port_reflector", "not_allowed", "looks_like_reply", "rate_peer", "rate_stranger":
		action, want, ifWant = "drop", k.drop, InterfaceCounters{Seen: 1, Dropped: 1}
	case "captured", "ring_full":
		action, want = "take", k.drop
	case "disarmed", "lease_expired", "truncated", "not_ip", "vlan_depth", "ip_header", "ip_checksum", "fragment",
		"ipv6_extension", "not_udp", "other_port", "udp_length", "udp_no_checksum", "other_interface":
		ifWant = InterfaceCounters{} // not a packet to a reflector's port here
	}
	if r.toProbes {
		ifWant = InterfaceCounters{}
	}
	for e := range before {
		if after[e] -= before[e]; after[e] == 0 {
			delete(after, e)
		}
	}
	require.Equal(r.t, Counters{{reason, action}: 1}, after)
	require.Equal(r.t, want, ret, "returned")
	require.Equal(r.t, ifWant, InterfaceCounters{
		ifAfter.Seen - ifBefore.Seen, ifAfter.Answered - ifBefore.Answered,
		ifAfter.PassedUp - ifBefore.PassedUp, ifAfter.Dropped - ifBefore.Dropped,
	})
	if action != "reply" {
		require.True(r.t, bytes.Equal(frame, out), "a packet that is not answered must not be touched")
	}
	return out
}

func (r *rig) snapshot() (Counters, InterfaceCounters) {
	r.t.Helper()
	c, err := r.counters()
	require.NoError(r.t, err)
	i, err := r.interfaceCounters(testIfindex)
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		require.NoError(r.t, err)
	}
	return maps.Clone(c), i
}

// reset forgets all sessions and rates.
func (r *rig) reset() {
	r.t.Helper()
	clearMap[bpfLlamaKey, bpfLlamaSession](r.t, r.LlamaPeer)
	clearMap[bpfLlamaKey, bpfLlamaSession](r.t, r.LlamaGuest)
	clearMap[bpfLlamaAddr, bpfLlamaSource](r.t, r.LlamaSource)
	clearMap[bpfLlamaAddr, bpfLlamaGsource](r.t, r.LlamaGsource)
	require.NoError(r.t, r.makeCrowd())
}

func clearMap[K comparable, V any](t testing.TB, m *ebpf.Map) {
	t.Helper()
	have, err := entries[K, V](m)
	require.NoError(t, err)
	for k := range have {
		require.NoError(t, m.Delete(k))
	}
}

// eachKind runs the test for every program.
func eachKind(t *testing.T, r *rig, test func(t *testing.T, r *rig, kind int)) {
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			sub := *r
			sub.t = t
			sub.reset()
			test(t, &sub, i)
		})
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func hexdump(b []byte) string { return fmt.Sprintf("%x", b) }
