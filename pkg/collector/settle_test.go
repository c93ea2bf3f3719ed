package collector

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// testFlow is a flow of a loop without sockets: one probe a millisecond, all in window 0.
func testFlow(slots int) (*loop, *flow) {
	p := &path{flows: make([]flow, 1), target: &probe.Target{}, slots: make([]slot, slots), inFlight: uint32(slots)}
	f := &p.flows[0]
	*f = flow{path: p, sock: &socket{fd: -1}, lastRTT: -1, marks: noMarks}
	l := &loop{timeout: 1e9, late: 2e9, clock: &fakeClock{}}
	l.spans.begin(1e18, 1)
	return l, f
}

func (f *flow) testSend() *slot {
	s := f.slot(f.next)
	at := int64(f.next)*1e6 + 1
	*s = slot{sent: at, due: at, t1: at, responder: 0, marks: noMarks} // t1: it left
	f.next++
	return s
}

// settleScript plays fates over one flow and settles it as the loop would.
func settleScript(fates []fate) probe.Counts {
	l, f := testFlow(len(fates) + 1)
	var rx, tx uint32
	var held *slot
	answer := func(s *slot) {
		rx++
		tx++
		s.state, s.counters = slotAnswered, counters{byTLV, rx, tx}
		s.t1, s.t4 = s.sent, s.sent+1000
	}
	for _, do := range fates {
		s := f.testSend()
		was := held
		held = nil
		switch do {
		case dropReverse:
			rx++
			tx++
		case refuse:
			rx++
		case overtaken:
			held = s
		case deliver:
			answer(s)
		}
		if was != nil {
			answer(was)
		}
	}
	if held != nil {
		answer(held)
	}
	l.settle(f, maxMono)
	l.closeWindow(f, 0)
	return f.path.window(0).counts(0)
}

func TestSplitNeedsAReplyOnEitherSide(t *testing.T) {
	got := settleScript([]fate{dropForward, deliver, dropForward, dropReverse, deliver, dropReverse})
	require.Equal(t, probe.Counts{Sent: 6, Received: 2, Lost: 4, LostForward: 1, LostReverse: 1, LostUnsplit: 2}, got)
}

// A window is written before its last loss is settled: the reply that decides
// it is to a probe of the next window, not yet settled itself.
func TestLossAtTheEndOfAWindowIsDecidedByTheNext(t *testing.T) {
	l, f := testFlow(16)
	fates := []fate{deliver, dropForward, dropReverse, deliver, deliver, dropForward, deliver}
	var c counters
	c.kind = byTLV
	for i, do := range fates {
		s := f.testSend()
		if i >= 3 {
			s.win = 1
		}
		if do != dropForward {
			c.rx++
			c.tx++
		}
		if do == deliver {
			s.state, s.counters, s.t1, s.t4 = slotAnswered, c, s.sent, s.sent+1
		}
	}
	l.settle(f, f.slot(2).sent+l.late)
	require.EqualValues(t, 3, f.tail)
	l.closeWindow(f, 0)
	require.Equal(t, probe.Counts{Sent: 3, Received: 1, Lost: 2, LostForward: 1, LostReverse: 1}, f.path.window(0).counts(0))
	l.settle(f, maxMono)
	l.closeWindow(f, 1)
	require.Equal(t, probe.Counts{Sent: 4, Received: 3, Lost: 1, LostForward: 1}, f.path.window(1).counts(0))
}

// A reflector that restarts counts from 0 again.
func TestRestartedReflectorStartsANewBaseline(t *testing.T) {
	l, f := testFlow(16)
	for _, c := range []counters{{byTLV, 90, 80}, {byTLV, 91, 81}, {}, {byTLV, 1, 1}, {}, {byTLV, 2, 2}, {}, {byTLV, 4, 4}} {
		s := f.testSend()
		if c.kind == byTLV {
			s.state, s.counters, s.t1, s.t4 = slotAnswered, c, s.sent, s.sent+1
		}
	}
	l.settle(f, maxMono)
	l.closeWindow(f, 0)
	require.Equal(t, probe.Counts{Sent: 8, Received: 5, Lost: 3, LostForward: 1, LostReverse: 1, LostUnsplit: 1},
		f.path.window(0).counts(0))
}

// A stateless reflector copies the sender's number: that must not look like loss
// by direction. One number that differs proves it counts.
func TestSplitWithoutTLVNeedsProofOfState(t *testing.T) {
	for _, proved := range []bool{false, true} {
		l, f := testFlow(16)
		f.dir.proved = proved
		for _, tx := range []uint32{1, 0, 2, 0, 4} {
			s := f.testSend()
			if tx > 0 {
				s.state, s.counters, s.t1, s.t4 = slotAnswered, counters{byNumber, tx, tx}, s.sent, s.sent+1
			}
		}
		l.settle(f, maxMono)
		l.closeWindow(f, 0)
		want := probe.Counts{Sent: 5, Received: 3, Lost: 2, LostUnsplit: 2}
		if proved {
			want = probe.Counts{Sent: 5, Received: 3, Lost: 2, LostForward: 1, LostReverse: 1}
		}
		require.Equal(t, want, f.path.window(0).counts(0), "proved %v", proved)
	}
}

func TestLossOverManyWindowsIsGivenUpOldestFirst(t *testing.T) {
	l, f := testFlow(16)
	for i := range 8 {
		f.testSend().win = uint32(i)
	}
	l.settle(f, maxMono)
	var sum probe.Counts
	for i := range uint32(8) {
		l.closeWindow(f, i)
		c := f.path.window(i).counts(0)
		sum.Add(&c)
	}
	require.Equal(t, probe.Counts{Sent: 8, Lost: 8, LostUnsplit: 8}, sum)
}

// The first probe of the next window may still be answered: it is counted with
// the losses where all of them went one way, and else they wait.
func TestLossAtTheEndOfAWindowBesideAnOpenProbe(t *testing.T) {
	for _, c := range []struct {
		fates []fate // the last two of window 0, the first of window 1
		want  probe.Counts
	}{
		{[]fate{dropForward, dropForward, dropForward}, probe.Counts{Sent: 3, Received: 1, Lost: 2, LostForward: 2}},
		{[]fate{dropReverse, dropReverse, dropReverse}, probe.Counts{Sent: 3, Received: 1, Lost: 2, LostReverse: 2}},
		{[]fate{refuse, refuse, refuse}, probe.Counts{Sent: 3, Received: 1, Refused: 2}},
		{[]fate{dropForward, dropForward, dropReverse}, probe.Counts{Sent: 3, Received: 1, Lost: 2, LostUnsplit: 2}},
	} {
		l, f := testFlow(16)
		count := counters{kind: byTLV}
		for i, do := range append(append([]fate{deliver}, c.fates...), deliver) {
			s := f.testSend()
			if i >= 3 {
				s.win = 1
			}
			if do != dropForward {
				count.rx++
			}
			if do == deliver || do == dropReverse {
				count.tx++
			}
			if do == deliver {
				s.state, s.counters, s.t1, s.t4 = slotAnswered, count, s.sent, s.sent+1
			}
		}
		l.settle(f, f.slot(2).sent+l.late)
		l.closeWindow(f, 0)
		require.Equal(t, c.want, f.path.window(0).counts(0), "%v", c.fates)
	}
}

func TestProbeThatNoDeviceTransmittedIsNotLost(t *testing.T) {
	l, f := testFlow(8)
	answered := func() {
		s := f.testSend()
		s.state, s.counters, s.t4 = slotAnswered, counters{byTLV, f.next, f.next}, s.sent+1
	}
	f.testSend().t1 = 0 // no stamp was ever seen: who knows whether there are any
	answered()
	f.testSend().t1 = 0
	f.testSend()
	answered()
	l.settle(f, maxMono)
	w := f.path.window(0)
	c := w.counts(0)
	require.NoError(t, c.Check())
	require.EqualValues(t, 4, c.Sent)
	require.EqualValues(t, 2, c.Lost)
	require.EqualValues(t, 1, c.NotSent)
	require.EqualValues(t, 1, w.notSent[reasonNeverLeft])
}

// Numbers go on where they wrap: at 1 ms that is after 50 days.
func TestSequenceWraps(t *testing.T) {
	const interval = int64(time.Millisecond)
	l, f := testFlow(inFlight(2e9, interval))
	f.next = ^uint32(0) - 2999
	f.tail = f.next
	for i := range int64(6000) {
		now := i*interval + 1
		l.settle(f, now)
		require.Less(t, f.next-f.tail, f.path.inFlight)
		s := f.slot(f.next)
		*s = slot{sent: now, due: now, t1: now, t4: now + 1000, state: slotAnswered, counters: counters{byTLV, f.next + 1, f.next + 1}, marks: noMarks}
		f.next++
	}
	l.settle(f, maxMono)
	c := f.path.window(0).counts(0)
	require.Equal(t, probe.Counts{Sent: 6000, Received: 6000}, c)
}
