package collector

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// lending is a loop whose flows have one probe in flight at the most.
func lending(flows int) *loop {
	l, f := testFlow(1)
	p := f.path
	p.flows, p.slots, p.lent = make([]flow, flows), nil, make([]*slot, flows)
	for i := range p.flows {
		p.flows[i] = flow{path: p, sock: &socket{fd: -1}, index: uint16(i), lastRTT: -1, marks: noMarks}
		l.schedule.flows = append(l.schedule.flows, &p.flows[i])
	}
	l.schedule.interval = 1e9 * int64(flows)
	return l
}

// send has the next flow send, at its due time.
func (l *loop) testSend(state slotState) {
	f, due := l.schedule.next(l.schedule.due())
	s := l.newSlot(f)
	*s = slot{sent: due, due: due, t1: due, t4: due + 1000, got: due + 1000, state: state, marks: noMarks, counters: counters{byTLV, f.next + 1, f.next + 1}}
	f.next++
	l.drained = due
	l.settleLent()
}

// However many flows there are, slots are as many as probes in flight; each probe ends once.
func TestSlotsAreLent(t *testing.T) {
	const flows, rounds = 5 * slotsAtOnce, 3
	l := lending(flows) // one probe a second, forgotten after two
	for i := range flows * rounds {
		l.testSend([]slotState{slotAnswered, slotAnswered, slotWaiting}[i%3])
		lent := 0
		for _, s := range l.schedule.flows[0].path.lent {
			if s != nil {
				lent++
			}
		}
		require.LessOrEqual(t, lent, 3)
		if i == flows {
			break // looking at all is slow
		}
	}
	for range flows*(rounds-1) - 1 {
		l.testSend(slotAnswered)
	}
	l.drained = maxMono
	l.settleLent()
	require.Len(t, l.lender.free, slotsAtOnce, "all came back")
	var sum probe.Counts
	w := l.schedule.flows[0].path.window(0)
	for i, f := range l.schedule.flows {
		require.Equal(t, f.next, f.tail)
		l.closeWindow(f, 0)
		c := w.counts(i)
		require.NoError(t, c.Check())
		sum.Add(&c)
	}
	require.EqualValues(t, flows*rounds, sum.Sent)
	require.EqualValues(t, flows/3, sum.Lost)
}

// A probe that could not be sent holds no slot.
func TestSlotOfAProbeThatWasNotSent(t *testing.T) {
	l := lending(1)
	l.slow = newGovernor(0, 1e9, nil)
	f, _ := l.schedule.next(0)
	l.newSlot(f)
	l.sendFailed(f, 0)
	require.Len(t, l.lender.free, slotsAtOnce)
}
