//go:build linux

package loader

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// logged is what a datapath has said.
type logged struct {
	mu  sync.Mutex // protects buf
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// options are those of a datapath on the interfaces of a host.
func (h *host) options(m Mode, interfaces ...string) (Options, *logged) {
	l := new(logged)
	return Options{
		Pin: string(h.pin), Mode: m, Interfaces: interfaces, Lease: time.Minute, Policy: *testPolicy(),
		Clock: func() ClockState { return ClockState{Estimate: estimate} },
		Log:   slog.New(slog.NewTextHandler(l, nil)),
	}, l
}

// start starts a datapath that the test reconciles itself: a goroutine of its own would be in another namespace.
func (h *host) start(m Mode, interfaces ...string) (*Datapath, *logged) {
	h.t.Helper()
	o, l := h.options(m, interfaces...)
	d, err := Start(context.Background(), o)
	require.NoError(h.t, err)
	return d, l
}

// crash ends the process of a datapath: it closes what is open, and nothing else.
func (d *Datapath) crash(t *testing.T) {
	for _, s := range d.sites {
		require.NoError(t, s.leave())
	}
	d.follower.close()
	require.NoError(t, d.object.Close())
	require.NoError(t, d.folder.Close())
}

func (d *Datapath) reached() map[string]Step {
	out := map[string]Step{}
	for _, i := range d.Interfaces() {
		out[i.Name] = i.Step
	}
	return out
}

// What a dead agent left on an interface that the next one is not to answer on goes off it.
func TestStartDropsWhatIsNotWantedAnyMore(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeTC, ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHost(t)
			old := h.veth("eth0", 1500)
			h.veth("eth1", 1500)
			gone := h.veth("eth2", 1500)
			d, _ := h.start(mode, "eth0", "eth2")
			d.crash(t)
			require.NoError(t, netlink.LinkDel(h.link("eth2")))
			d, _ = h.start(mode, "eth1")
			require.Equal(t, map[string]Step{"eth1": Step(mode)}, d.reached())
			h.nothingOn(old)
			for _, ifc := range []Interface{old, gone} {
				_, err := d.object.interfaceCounters(ifc.Index)
				require.Error(t, err, ifc.Name)
			}
			require.NoError(t, d.Close())
			require.NoDirExists(t, string(h.pin))
		})
	}
}

// What a killed agent left ends with one write, but not what an agent that runs has.
func TestDisarm(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	disarm := func() bool {
		was, err := Disarm(string(h.pin))
		require.NoError(t, err)
		return was
	}
	require.False(t, disarm(), "nothing is there")
	d, _ := h.start(ModeTC, "eth0")
	require.False(t, disarm(), "an agent runs")
	d.crash(t)
	require.True(t, disarm())
	require.False(t, disarm(), "it was already")
	m, err := ebpf.LoadPinnedMap(h.pin.path("llama_lease"), nil)
	require.NoError(t, err)
	var l bpfLlamaLease
	require.NoError(t, m.Lookup(uint32(0), &l))
	require.Zero(t, l.UntilNs)
	require.NotZero(t, l.WallOffsetNs, "the rest is as it was")
	require.NoError(t, m.Close())

	// Of another version: nothing is written that has another meaning there.
	require.NoError(t, os.Remove(h.pin.path("llama_lease")))
	m, err = ebpf.NewMap(&ebpf.MapSpec{Name: "llama_lease", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	require.NoError(t, err)
	require.NoError(t, m.Pin(h.pin.path("llama_lease")))
	require.NoError(t, m.Close())
	_, err = Disarm(string(h.pin))
	require.ErrorContains(t, err, "llama-agent detach")
	_, err = Detach(string(h.pin))
	require.NoError(t, err)
}

// A stop takes no program off a NIC whose link would go with it, not even one that it has nothing to do with.
func TestCloseKeepsPinsThatHoldPrograms(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	h.veth("eth1", 1500)
	d, _ := h.start(ModeNative, "eth0", "eth1")
	for _, s := range d.sites {
		s.driver = willing(effectResets, true)
	}
	d.options.Interfaces = []string{"eth1"}
	require.NoError(t, d.reconcile(context.Background()))
	require.Equal(t, map[string]Step{"eth1": StepNative}, d.reached())
	d.sites[h.index("eth1")].driver = willing(effectNone, true)
	require.NoError(t, d.Close())
	require.Equal(t, []string{linkName("eth0", StepNative)}, h.linkPins())
	_, err := Detach(string(h.pin))
	require.NoError(t, err)
	require.NoDirExists(t, string(h.pin))
}

func (h *host) index(name string) int { return h.link(name).Attrs().Index }

// A start that fails before it has looked at the pins leaves them.
func TestStartThatFailsTakesNothingOff(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, _ := h.start(ModeNative, "eth0")
	d.crash(t)
	o, _ := h.options(ModeNative, "eth0")
	o.Policy.Ports = make([]uint16, 17)
	_, err := Start(context.Background(), o)
	require.Error(t, err)
	x, err := readXDP(h.index("eth0"))
	require.NoError(t, err)
	require.NotZero(t, x.native)
	_, err = Detach(string(h.pin))
	require.NoError(t, err)
	_, err = Start(context.Background(), o)
	require.Error(t, err)
	require.NoDirExists(t, string(h.pin), "what was not there before is left")
}

// An interface that was named and went is not shown as if it answered; others with faults do not change that.
func TestInterfaceThatGoesIsDropped(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, l := h.start(ModeAuto, "eth0", "eth9")
	require.Contains(t, l.String(), `interface \"eth9\": no such interface`)
	require.Equal(t, map[string]Step{"eth0": StepTC}, d.reached())
	require.NoError(t, netlink.LinkDel(h.link("eth0")))
	require.ErrorIs(t, d.reconcile(context.Background()), ErrNoInterface)
	require.Empty(t, d.reached())
	require.Empty(t, h.linkPins())
	back := h.veth("eth0", 1500)
	require.ErrorIs(t, d.reconcile(context.Background()), ErrNoInterface)
	require.Equal(t, map[string]Step{"eth0": StepTC}, d.reached())
	require.NotNil(t, d.sites[back.Index])
	require.NoError(t, d.Close())
	require.NoDirExists(t, string(h.pin))
}

func (h *host) linkPins() []string {
	names, err := h.pin.names(linkPrefix)
	require.NoError(h.t, err)
	return names
}

// A host without routes has nothing to reflect on in the kernel, and is told so; the routes may come later. A mode that
// names a step is an error there.
func TestRoutesThatComeLater(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	d, l := h.start(ModeAuto)
	require.Contains(t, l.String(), "no interface to reflect on")
	require.Empty(t, d.reached())
	addr, err := netlink.ParseAddr("10.0.0.1/24")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(h.link("eth0"), addr))
	require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: ifc.Index, Gw: netip.MustParseAddr("10.0.0.2").AsSlice()}))
	require.NoError(t, d.reconcile(context.Background()))
	require.Equal(t, map[string]Step{"eth0": StepTC}, d.reached())
	require.NoError(t, d.Close())
}

// An end in the middle of the start is its end. What an earlier agent left passes everything.
func TestEndInTheMiddleOfTheStart(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	ctx, end := context.WithCancel(context.Background())
	o, _ := h.options(ModeTC, "eth0")
	clock := o.Clock
	o.Clock = func() ClockState { // asked for the first sign of life
		end()
		return clock()
	}
	_, err := Start(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, string(h.pin))
	h.nothingOn(Interface{Name: "eth0", Index: h.index("eth0")})

	d, _ := h.start(ModeTC, "eth0")
	d.crash(t)
	_, err = Start(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	d, _ = h.start(ModeTC, "eth0")
	require.Equal(t, map[string]Step{"eth0": StepTC}, d.reached())
	require.NoError(t, d.Close())
	require.NoDirExists(t, string(h.pin))
}

// A mode that names a step has it on an interface or is an error, at the start. One that vanishes later is told of.
func TestNamedModeWithoutInterface(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeTC, ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHost(t)
			h.veth("eth0", 1500)
			for _, names := range [][]string{nil, {"eth9"}, {"eth0", "eth9"}} {
				o, _ := h.options(mode, names...)
				_, err := Start(context.Background(), o)
				require.ErrorIs(t, err, ErrNoInterface, names)
				require.NoDirExists(t, string(h.pin))
			}
			d, _ := h.start(mode, "eth0")
			require.NoError(t, netlink.LinkDel(h.link("eth0")))
			require.ErrorIs(t, d.reconcile(context.Background()), ErrNoInterface)
			require.Empty(t, d.reached())
			require.NoError(t, d.Close())
		})
	}
}

// A program that is taken off is put back once, also where a step was left shortly before.
func TestProgramTakenOff(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, l := h.start(ModeAuto, "eth0")
	s := d.sites[h.index("eth0")]
	s.left = time.Now()
	off := func() {
		if lh, ok := s.hook.(*linkHook); ok {
			require.NoError(t, lh.link.Detach())
		} else {
			require.NoError(t, netlink.QdiscDel(clsact(h.index("eth0"))))
		}
		require.NoError(t, d.reconcile(context.Background()))
	}
	off()
	require.Equal(t, map[string]Step{"eth0": StepTC}, d.reached())
	require.Contains(t, l.String(), "again")
	off()
	require.Equal(t, map[string]Step{"eth0": StepGeneric}, d.reached())
	require.Contains(t, l.String(), "twice within an hour")
	require.NoError(t, d.Close())
	require.NoDirExists(t, string(h.pin))
}

// What stamps probes is tried again where it could not be had.
func TestEgressIsTriedAgain(t *testing.T) {
	h := newHost(t)
	index := h.veth("eth0", 1500).Index
	o, _ := h.options(ModeTC, "eth0")
	o.Probes = ProbeOptions{Flows: 1, InFlight: 1, First: probePort, Last: probePort}
	d, err := Start(context.Background(), o)
	require.NoError(t, err)
	require.NoError(t, d.sites[index].detachEgress())
	d.coverProbes()
	require.False(t, d.Probes().Covers(index))
	require.NoError(t, d.reconcile(context.Background()))
	require.True(t, d.Probes().Covers(index))
	require.NoError(t, d.Close())
}

// MTU and hardware address change while it runs, and somebody tries to take the program off as one without a link.
func TestInterfaceThatChanges(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeGeneric, ModeTC} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHost(t)
			h.veth("eth0", 1500)
			d, l := h.start(mode, "eth0")
			id := d.sites[h.index("eth0")].hook.program()
			mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
			require.NoError(t, netlink.LinkSetHardwareAddr(h.link("eth0"), mac))
			for _, mtu := range []int{1400, 3000, 1500} {
				require.NoError(t, netlink.LinkSetMTU(h.link("eth0"), mtu))
				require.NoError(t, d.reconcile(context.Background()))
			}
			var ifc bpfLlamaIface
			require.NoError(t, d.object.LlamaIface.Lookup(uint32(h.index("eth0")), &ifc))
			require.Equal(t, uint32(1), ifc.Nmacs)
			require.Equal(t, []byte(mac), ifc.Macs[0].Octets[:])
			if kind := map[Mode]int{ModeNative: unix.XDP_FLAGS_DRV_MODE, ModeGeneric: unix.XDP_FLAGS_SKB_MODE}[mode]; kind != 0 {
				require.ErrorIs(t, netlink.LinkSetXdpFdWithFlags(h.link("eth0"), -1, kind), unix.EBUSY, "the kernel protects a link")
			}
			require.NoError(t, d.reconcile(context.Background()))
			require.Equal(t, map[string]Step{"eth0": Step(mode)}, d.reached())
			require.Equal(t, id, d.sites[h.index("eth0")].hook.program())
			require.NotContains(t, l.String(), "level=WARN")
			require.NoError(t, d.Close())
		})
	}
}

// An interface that is renamed keeps its programs, until another has the name that was configured.
func TestInterfaceRenamed(t *testing.T) {
	h := newHost(t)
	old := h.veth("eth0", 1500)
	d, l := h.start(ModeTC, "eth0")
	id := d.sites[old.Index].hook.program()
	rename := func(from, to string) {
		require.NoError(t, netlink.LinkSetDown(h.link(from))) // before Linux 6.2 it has to be
		require.NoError(t, netlink.LinkSetName(h.link(from), to))
	}
	rename("eth0", "up0")
	for range 2 {
		require.NoError(t, d.reconcile(context.Background()))
	}
	require.Equal(t, map[string]Step{"up0": StepTC}, d.reached())
	require.Equal(t, id, d.sites[old.Index].hook.program())
	require.Equal(t, 1, strings.Count(l.String(), "interface has another name now"))
	other := h.veth("eth1", 1500)
	rename("eth1", "eth0")
	require.NoError(t, d.reconcile(context.Background()))
	require.Equal(t, map[string]Step{"eth0": StepTC}, d.reached())
	require.NoError(t, d.sites[other.Index].lost())
	require.NoError(t, d.Close())
	require.NoDirExists(t, string(h.pin))
}

// A policy that the kernel cannot have leaves nobody answered by the one before.
func TestPolicyThatCannotBeHad(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, _ := h.start(ModeTC, "eth0")
	armed := func() bool {
		var l bpfLlamaLease
		require.NoError(t, d.object.LlamaLease.Lookup(uint32(0), &l))
		return l.UntilNs != 0
	}
	require.True(t, armed())
	wrong := *testPolicy()
	wrong.Ports = make([]uint16, 17)
	require.Error(t, d.Update(wrong, nil))
	require.NoError(t, d.renew())
	require.False(t, armed())
	require.NoError(t, d.Update(*testPolicy(), nil))
	require.True(t, armed())
	require.NoError(t, d.Close())
	_, err := d.Counters()
	require.Error(t, err, "counters of maps that are closed")
}

// What tells of changes may fail; the rest goes on.
func TestRunGoesOnWithoutMessages(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, l := h.start(ModeTC, "eth0")
	d.follower.close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Run(ctx) }()
	lease := func() (l bpfLlamaLease) {
		require.NoError(t, d.object.LlamaLease.Lookup(uint32(0), &l))
		return l
	}
	before := lease().UntilNs
	h.eventually(func() bool { return lease().UntilNs > before }, "sign of life")
	require.Contains(t, l.String(), "by messages")
	cancel()
	<-done
	require.NoError(t, d.Close())
}

// An agent whose predecessor removes the folder at that moment holds the new one, not the one that is gone.
func TestHoldIsOfTheFolderThatIsThere(t *testing.T) {
	lab.Require(t, lab.Root)
	mount := t.TempDir() + "/bpf"
	unmount, err := lab.MountBPF(mount) // where other goroutines see it too
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unmount()) })
	pin := pinFolder(mount + "/llama")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range fewer(5000) {
				dir, err := pin.hold()
				if err != nil {
					continue // the other has it
				}
				if err := isAt(dir, string(pin)); err != nil {
					t.Error(err)
				}
				_, _ = pin.removePins()
				_ = dir.Close()
			}
		})
	}
	wg.Wait()
}

func TestDetachIsNotForAnAgentThatRuns(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, _ := h.start(ModeTC, "eth0")
	_, err := Detach(string(h.pin))
	require.ErrorIs(t, err, ErrPinsHeld)
	require.NoError(t, d.sites[h.index("eth0")].lost())
	d.crash(t)
	_, err = Detach(string(h.pin))
	require.NoError(t, err)
	_, err = os.Stat(string(h.pin))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// An agent that runs does not stand in its own way.
func TestDryRunBesideAnAgent(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	d, _ := h.start(ModeNative, "eth0")
	all, err := new(DryRun).Judge("eth0")
	require.NoError(t, err)
	require.Equal(t, StepNative, all[0].Step)
	require.True(t, all[0].Works, all[0].Why)
	require.NotContains(t, all[2].Why, "somebody else")
	require.NoError(t, d.Close())
}

// A dry run of a mode that names a step ends as the start does, and leaves nothing.
func TestDryRunOfAStart(t *testing.T) {
	h := newHost(t)
	h.veth("eth0", 1500)
	r := new(DryRun)
	for _, c := range []struct {
		mode       Mode
		interfaces []string
		unresolved bool
		is         error // nil: only the text, and that Start has it too
		says       string
	}{
		{mode: ModeNative, interfaces: []string{"eth0"}},
		{mode: ModeTC, interfaces: []string{"eth0", "lo"}},
		{mode: ModeGeneric, interfaces: []string{"lo"}},
		{mode: ModeNative, interfaces: []string{"eth0", "lo"}, says: "no native XDP"},
		{mode: ModeTC, interfaces: []string{"eth9"}, is: ErrNoInterface, says: "eth9"},
		{mode: ModeTC, is: ErrNoInterface, says: "there is no interface for it"},
		{mode: ModeTC, unresolved: true},
	} {
		o, _ := h.options(c.mode, c.interfaces...)
		o.Unresolved = c.unresolved
		dry := r.Start(o)
		require.NoDirExists(t, string(h.pin))
		d, err := Start(context.Background(), o)
		require.Equal(t, c.says == "", err == nil, "%v: %v", c, err)
		if err == nil {
			require.NoError(t, dry, "%v", c)
			require.NoError(t, r.Start(o), "beside the agent: %v", c)
			require.NoError(t, d.Close())
			continue
		}
		require.ErrorContains(t, dry, c.says)
		require.ErrorContains(t, err, c.says)
		if c.is != nil {
			require.ErrorIs(t, dry, c.is)
		}
	}
}

func TestHistoryOfAnotherCollector(t *testing.T) {
	var h history
	for _, n := range []uint64{100, 200, 3, 5} {
		h.add(n)
	}
	require.EqualValues(t, 2, h.lately())
}
