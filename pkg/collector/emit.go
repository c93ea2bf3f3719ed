package collector

import (
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

// batchSize bounds one sendmmsg, and with it how long the loop is away from
// the replies.
const batchSize = 64

// An outbox collects probes that are due now and leave from the same socket.
type outbox struct {
	batch *sock.Batch
	sock  *socket
	flows [batchSize]*flow
	n     int
	count uint64 // batches sent; marks the flows in the one at hand
}

// sendDue sends what is due, at most a few batches, so that replies get their turn.
func (l *loop) sendDue(now int64) {
	if missed := l.schedule.skip(now); missed > 0 {
		for _, f := range l.schedule.flows {
			l.notSent(f, reasonOverrun, l.spendCount(f, missed))
		}
	}
	l.slow.look(now)
	for l.schedule.hopeless(now) {
		f := l.schedule.flows[l.schedule.at]
		l.schedule.pass()
		l.notSent(f, reasonOverrun, l.spendCount(f, 1))
	}
	for range 4 * batchSize {
		if l.schedule.ready() > now {
			break
		}
		cycle := l.schedule.cycle
		f, due := l.schedule.next(now)
		switch {
		case l.spendCount(f, 1) == 0:
		case l.slow.holds(f, cycle):
			l.notSent(f, reasonSlowed, 1)
		default:
			l.prepare(f, due)
		}
	}
	l.flush()
}

// spendCount takes up to n probes off what the flow has still to send.
func (l *loop) spendCount(f *flow, n int64) int64 {
	if !l.counted {
		return n
	}
	n = min(n, int64(f.left))
	f.left -= int(n)
	l.left -= int(n)
	return n
}

func (l *loop) prepare(f *flow, due int64) {
	l.settle(f, l.drained)
	if f.sock.fd < 0 {
		l.notSent(f, f.sock.whyClosed(), 1)
		return
	}
	if f.next-f.tail >= uint32(len(f.slots)) {
		l.notSent(f, reasonInFlight, 1)
		return
	}
	o := &l.out
	if o.n == batchSize || o.sock != f.sock || f.batch == o.count {
		l.flush()
	}
	o.sock, f.batch = f.sock, o.count
	i := o.n
	wall, mono := l.clock.Read()
	span := l.spans.open()
	span.last = mono
	s := f.slot(f.next)
	*s = slot{
		wire: l.wire.FromUnixNano(wall), sent: mono, due: due, responder: -1,
		win: span.num, marks: noMarks,
	}
	if f.path.kernel {
		s.flags = slotKernel
	}
	n := f.path.next(f).Put(o.batch.Buffer(i), f.next, s.wire, f.next+1)
	o.batch.SetLen(i, n)
	o.batch.SetAddr(i, &f.dest)
	o.batch.SetControl(i, f.sock.key.v6, &f.path.mark)
	o.flows[i] = f
	o.n++
}

// flush sends the batch. A sequence number is used up only by a send that succeeded.
func (l *loop) flush() {
	o := &l.out
	retried := -1
	for from := 0; from < o.n; {
		n, errno := o.batch.Send(o.sock.fd, from, o.n)
		for _, f := range o.flows[from : from+n] {
			f.next++
			l.waiting++
			l.unread++
			l.stats.add(countSent)
		}
		l.slow.sent += n
		from += n
		if errno == 0 {
			break
		}
		if mayBePending(errno) && retried != from {
			retried = from
			continue
		}
		l.sendFailed(o.flows[from], errno)
		from++
	}
	o.n = 0
	o.count++
}

func (l *loop) sendFailed(f *flow, errno unix.Errno) {
	l.stats.add(countSendErrors)
	why := reasonOf(errno)
	if why == reasonNoBuffer || why == reasonSendBuffer {
		l.slow.unsent++
	}
	l.notSent(f, why, 1)
}

// notSent counts probes that were due, in the window that is open.
func (l *loop) notSent(f *flow, r reason, n int64) {
	if n > 0 {
		w := f.path.window(l.spans.open().num)
		w.notSent[r] += uint64(n)
		l.reasons[r].Add(uint64(n))
		w.flows[f.index].NotSent += uint64(n)
	}
}
