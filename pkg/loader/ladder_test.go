//go:build linux

package loader

import (
	"context"
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// willing is the driver of a veth if it did not depend on its other end, and did to its link what real ones do.
func willing(does effect, replaceFree bool) driver {
	d := driverOf(Interface{Kind: "veth"})
	d.peer, d.attach, d.replaceFree = false, does, replaceFree
	return d
}

func (h *host) attachBy(d driver, ifc Interface, mode Mode, p Programs, o attachOptions) *attachment {
	h.t.Helper()
	a, err := attachBy(context.Background(), d, ifc, mode, p, o)
	require.NoError(h.t, err)
	return a
}

func steps(reasons []StepReason) (s []Step) {
	for _, r := range reasons {
		s = append(s, r.Step)
	}
	return s
}

func TestAutoTakesTCOnVeth(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	a := h.attach(ifc, ModeAuto, h.programs(), attachOptions{pin: h.pin, resetLink: true})
	require.Equal(t, StepTC, a.Step)
	require.Equal(t, []Step{StepNative}, steps(a.Reasons))
	require.Contains(t, a.Reasons[0].Why, "the other end")
}

func TestAutoNativeOnlyWhereNothingIsDisturbed(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		name      string
		does      effect
		mode      Mode
		resetLink bool
		want      Step
	}{
		{"disturbs nothing", effectNone, ModeAuto, false, StepNative},
		{"pauses", effectPauses, ModeAuto, false, StepTC},
		{"pauses, by request", effectPauses, ModeNative, false, StepNative},
		{"pauses, allowed", effectPauses, ModeAuto, true, StepNative},
		{"reopens", effectReopens, ModeAuto, false, StepTC},
		{"reopens, allowed", effectReopens, ModeAuto, true, StepNative},
		{"resets", effectResets, ModeAuto, false, StepTC},
		{"resets, by request and allowed", effectResets, ModeNative, true, StepNative},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			ifc := h.veth("eth0", 1500)
			h.send(ifc, 0) // its carrier is there
			a := h.attachBy(willing(c.does, true), ifc, c.mode, h.programs().set(), attachOptions{pin: h.pin, resetLink: c.resetLink})
			require.Equal(t, c.want, a.Step)
			if c.want != StepNative {
				require.Contains(t, a.Reasons[0].Why, "datapath.reset_link: true")
			}
			_, disturbs := a.disturbs()
			require.Equal(t, c.want == StepNative && c.does != effectNone, disturbs)
		})
	}
	ifc := h.veth("eth0", 1500)
	_, err := attachBy(context.Background(), willing(effectResets, true), ifc, ModeNative, h.programs().set(), attachOptions{pin: h.pin})
	require.ErrorIs(t, err, ErrResetsLink)
	require.ErrorIs(t, err, ErrStep)
	h.nothingOn(ifc)
}

// An end while a link is awaited takes nothing off: that would be the second reset. The next start has it.
func TestEndWhileALinkIsAwaited(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	h.send(ifc, 0) // its carrier is there
	ended, end := context.WithCancel(context.Background())
	end()
	o := attachOptions{pin: h.pin, resetLink: true}
	p := h.programs()
	_, err := attachBy(ended, willing(effectResets, true), ifc, ModeNative, p.set(), o)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{linkName("eth0", StepNative)}, h.linkPins())
	x, err := readXDP(ifc.Index)
	require.NoError(t, err)
	require.NotZero(t, x.native)
	a := h.attachBy(willing(effectResets, true), ifc, ModeNative, p.set(), o)
	require.Equal(t, StepNative, a.Step)
	require.NoError(t, a.detach())
	require.Empty(t, h.linkPins())
}

// Without frags a veth's native XDP has a limit, which is that of the other end's MTU.
func TestLargeMTUGoesToTheNextStep(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 9000)
	p := h.programs()
	_, err := attach(context.Background(), ifc, ModeNative, p.set(), attachOptions{pin: h.pin})
	require.ErrorIs(t, err, ErrStep)
	require.ErrorIs(t, err, unix.ERANGE)
	require.ErrorContains(t, err, "MTU 9000")
	h.nothingOn(ifc)

	a := h.attachBy(willing(effectNone, true), ifc, ModeAuto, p.set(), attachOptions{pin: h.pin})
	require.Equal(t, StepTC, a.Step)
	require.Equal(t, []Step{StepNative}, steps(a.Reasons))
	require.Contains(t, a.Reasons[0].Why, "MTU 9000 needs a kernel from 5.18 on, or an MTU of at most 3506")
	require.NoError(t, a.detach())

	if ok, err := haveFrags(); !ok || err != nil {
		require.NoError(t, err)
		return
	}
	frags := h.xdpFrags("llama_xdp", xdpDrop)
	a = h.attachBy(willing(effectNone, true), ifc, ModeAuto, Programs{XDP: frags.Program}, attachOptions{pin: h.pin})
	require.Equal(t, StepNative, a.Step)
	h.send(ifc, 2)
	h.eventually(func() bool { return frags.count() == 2 }, "count")
}

func TestProofDecides(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	var proved []Step
	o := attachOptions{pin: h.pin, prove: func(s Step) error {
		proved = append(proved, s)
		if s == StepGeneric {
			return nil
		}
		return errors.New("the reply is wrong")
	}}
	p := h.programs()
	a := h.attachBy(willing(effectNone, true), ifc, ModeAuto, p.set(), o)
	require.Equal(t, StepGeneric, a.Step)
	require.Equal(t, []Step{StepNative, StepTC, StepGeneric}, proved)
	require.Equal(t, []Step{StepNative, StepTC}, steps(a.Reasons))
	require.Contains(t, a.Reasons[1].Why, "the reply is wrong")
	require.Zero(t, h.tcPrograms(ifc))
	h.send(ifc, 3)
	h.eventually(func() bool { return p.counts() == onlyStep(StepGeneric, 3) }, "count")
	require.NoError(t, a.detach())

	o.prove = func(Step) error { return errors.New("the reply is wrong") }
	_, err := attach(context.Background(), ifc, ModeTC, p.set(), o)
	require.ErrorIs(t, err, ErrStep)
	a = h.attach(ifc, ModeAuto, p, o)
	require.Equal(t, StepSocket, a.Step)
	require.Empty(t, a.Flavor)
	require.Len(t, a.Reasons, 3)
	h.nothingOn(ifc)
}

func TestStepDown(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	p := h.programs()
	ctx := context.Background()
	a := h.attachBy(willing(effectNone, true), ifc, ModeAuto, p.set(), attachOptions{pin: h.pin})
	require.Equal(t, StepNative, a.Step)
	for i, want := range []Step{StepTC, StepGeneric, StepSocket} {
		require.NoError(t, a.stepDown(ctx, "replies are lost"))
		require.Equal(t, want, a.Step)
		require.Equal(t, StepReason{want - 1, "replies are lost"}, a.Reasons[i])
		before := p.counts()
		h.send(ifc, 2)
		after := onlyStep(want, 2)
		h.eventually(func() bool {
			for i := range before {
				if p.counts()[i] != before[i]+after[i] {
					return false
				}
			}
			return true
		}, "count at "+want.String())
	}
	require.ErrorIs(t, a.stepDown(ctx, "and again"), ErrStep)
	h.nothingOn(ifc)

	a = h.attach(ifc, ModeTC, p, attachOptions{pin: h.pin})
	require.ErrorIs(t, a.stepDown(ctx, "replies are lost"), ErrStep, "there is no other in mode tc")
	require.Equal(t, StepSocket, a.Step)
	h.nothingOn(ifc)
}

// Where taking a program off would reset the link, one that passes everything takes its place.
func TestStepDownKeepsTheLink(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	p := h.programs()
	d := willing(effectReopens, true)
	o := attachOptions{pin: h.pin, resetLink: true}
	a := h.attachBy(d, ifc, ModeAuto, p.set(), o)
	id := h.linkID(a)
	require.NoError(t, a.stepDown(context.Background(), "replies are lost"))
	require.Equal(t, StepTC, a.Step)
	x, err := readXDP(ifc.Index)
	require.NoError(t, err)
	require.NotZero(t, x.native)
	require.Equal(t, "llama_pass", findOwner(x.native).Name)
	h.send(ifc, 3)
	h.eventually(func() bool { return p.counts() == onlyStep(StepTC, 3) }, "count")
	_, disturbs := a.disturbs()
	require.True(t, disturbs)

	require.NoError(t, a.stepDown(context.Background(), "and again"))
	require.Equal(t, StepSocket, a.Step, "generic and native exclude each other")
	require.Contains(t, a.Reasons[2].Why, "still attached")

	// The next process finds the link and needs nobody's leave to use it.
	require.NoError(t, a.leave())
	o.resetLink = false
	b := h.attachBy(d, ifc, ModeAuto, p.set(), o)
	require.Equal(t, StepNative, b.Step)
	require.Equal(t, id, h.linkID(b))
	require.NoError(t, b.detach())
	h.nothingOn(ifc)
}

// A driver that resets the link whenever a program is exchanged keeps the one of the earlier process as long as
// that works on the same maps, and is left alone if it does not.
func TestExchangeThatWouldReset(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	d := willing(effectReopens, false)
	allowed := attachOptions{pin: h.pin, resetLink: true}
	p := h.programs()
	a := h.attachBy(d, ifc, ModeAuto, p.set(), allowed)
	first := programID(p.native.Program)
	require.NoError(t, a.leave())

	next := p.set()
	again := h.programOn(p.native.m, "llama_xdp", ebpf.XDP, xdpTX, 0) // another version on the same map
	next.XDP = again.Program
	b := h.attachBy(d, ifc, ModeAuto, next, attachOptions{pin: h.pin})
	require.Equal(t, StepNative, b.Step)
	require.Equal(t, first, b.hook.program())
	require.NoError(t, b.leave())

	q := h.programs() // on maps of its own
	c := h.attachBy(d, ifc, ModeAuto, q.set(), attachOptions{pin: h.pin})
	require.Equal(t, StepTC, c.Step)
	require.Contains(t, c.Reasons[0].Why, "datapath.reset_link: true")
	x, err := readXDP(ifc.Index)
	require.NoError(t, err)
	require.Equal(t, first, x.native, "it was to stay as it is")
	require.ErrorIs(t, c.stepDown(context.Background(), "so what"), nil)
	require.NoError(t, c.leave())

	e := h.attachBy(d, ifc, ModeAuto, q.set(), allowed)
	require.Equal(t, StepNative, e.Step)
	require.Equal(t, programID(q.native.Program), e.hook.program())
	require.Zero(t, h.tcPrograms(ifc), "what the process before left on other steps")
	require.NoError(t, e.detach())
	h.nothingOn(ifc)
}

// What an earlier process left on another step goes when this one takes its own.
func TestChangeOfMode(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	o := attachOptions{pin: h.pin}
	for _, m := range []Mode{ModeNative, ModeGeneric, ModeTC, ModeNative, ModeTC, ModeGeneric, ModeNative, ModeSocket} {
		p := h.programs()
		a := h.attach(ifc, m, p, o)
		require.Equal(t, Step(m), a.Step)
		h.send(ifc, 2)
		if m != ModeSocket {
			h.eventually(func() bool { return p.counts() == onlyStep(a.Step, 2) }, "count in mode "+m.String())
		}
		require.NoError(t, a.leave())
	}
	h.nothingOn(ifc)
}

func TestInterfaceThatGoes(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	require.NoError(t, netlink.LinkDel(h.link("eth0")))
	for _, m := range []Mode{ModeAuto, ModeNative, ModeTC, ModeGeneric} {
		_, err := attach(context.Background(), ifc, m, h.programs().set(), attachOptions{pin: h.pin})
		require.ErrorIs(t, err, ErrNoInterface, m.String())
		require.NotErrorIs(t, err, ErrStep)
	}
	// In the middle.
	for _, way := range []string{"native", "generic", "tc", "clsact"} {
		ifc = h.veth("eth0", 1500)
		o := h.everyWay()[way]
		o.prove = func(Step) error { return netlink.LinkDel(h.link("eth0")) }
		a := h.attach(ifc, modeOf(way), h.programs(), o)
		h.eventually(func() bool { return errors.Is(a.lost(), ErrLost) }, "loss by "+way)
		require.NoError(t, a.detach())
	}
	names, err := h.pin.names("")
	require.NoError(t, err)
	require.Empty(t, names)
	_, err = interfaceByName("eth0")
	require.ErrorIs(t, err, ErrNoInterface)
}

func TestModes(t *testing.T) {
	for _, s := range []string{"auto", "native", "tc", "generic", "socket"} {
		m, err := ParseMode(s)
		require.NoError(t, err)
		require.Equal(t, s, m.String())
	}
	_, err := ParseMode("xdp")
	require.ErrorContains(t, err, `"xdp"`)
}

// A missing program is a reason like any other.
func TestNoProgramForAStep(t *testing.T) {
	h := newHost(t)
	ifc := h.veth("eth0", 1500)
	p := Programs{TC: h.tc("llama_tc", tcShot).Program}
	a := h.attachBy(willing(effectNone, true), ifc, ModeAuto, p, attachOptions{pin: h.pin})
	require.Equal(t, StepTC, a.Step)
	_, err := attach(context.Background(), ifc, ModeGeneric, p, attachOptions{pin: h.pin})
	require.ErrorIs(t, err, ErrStep)
}
