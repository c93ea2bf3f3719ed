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
	fd    int // of the socket
	flows [batchSize]*flow
	n     int
	count uint32 // of the batch at hand, the only one of that number; marks the flows in it
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
	l.flushAll()
}

// spendCount takes up to n probes off what the flow has still to send.
func (l *loop) spendCount(f *flow, n int64) int64 {
	if !l.counted {
		return n
	}
	n = min(n, int64(f.left))
	f.left -= int32(n)
	l.left -= int(n)
	return n
}

func (l *loop) prepare(f *flow, due int64) {
	l.settle(f, l.drained)
	if r := &f.path.route; r.blocked {
		l.notSent(f, r.blockReason, 1)
		return
	}
	if f.sock.fd < 0 {
		l.notSent(f, f.sock.whyClosed(), 1)
		return
	}
	if f.next-f.tail >= f.path.inFlight {
		l.notSent(f, reasonInFlight, 1)
		return
	}
	o, why, ok := l.outboxOf(f)
	if !ok {
		l.notSent(f, why, 1)
		return
	}
	f.batch = o.count
	i := o.n
	wall, mono := l.clock.Read()
	span := l.spans.open()
	span.last = mono
	s := l.newSlot(f)
	*s = slot{
		wire: l.wire.FromUnixNano(wall), sent: mono, due: due, responder: -1,
		win: span.num, marks: noMarks,
	}
	if f.path.kernel {
		s.flags = slotKernel
	}
	t, b := f.path.next(f), o.batch.Buffer(i)
	if o == &l.out {
		o.batch.SetLen(i, t.Put(b, f.next, s.wire, f.next+1))
		o.batch.SetAddr(i, &f.path.dest)
		mark := f.path.mark
		if s.is(slotKernel) && f.silent(l.drained) {
			// Is it the network, or does this host not transmit? A stamp is dear, and
			// while replies come there is no need to ask.
			mark.TxStamp = true
			s.flags |= slotAsked
		}
		o.batch.SetControl(i, f.sock.key.v6, &mark)
	} else {
		h := &f.path.framing.header
		n := t.Put(b[h.Len():], f.next, s.wire, f.next+1)
		h.Put(b, f.sock.port, n, t.Sum(f.next, s.wire, f.next+1))
		o.batch.SetLen(i, h.Len()+n)
	}
	o.flows[i] = f
	o.n++
}

func (l *loop) flushAll() {
	l.flush(&l.out)
	for _, s := range l.packets.sockets {
		l.flush(&s.out)
	}
}

func (l *loop) nextBatch() uint32 {
	l.batches++
	return l.batches
}

// flush sends a batch. A sequence number is used up only by a send that succeeded.
func (l *loop) flush(o *outbox) {
	if o.n == 0 {
		return
	}
	retried := -1
	for from := 0; from < o.n; {
		n, errno := o.batch.Send(o.fd, from, o.n)
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
	o.count = l.nextBatch()
}

func (l *loop) sendFailed(f *flow, errno unix.Errno) {
	l.stats.add(countSendErrors)
	why := reasonFrom(sourceOf(l.sources, f.sock.key.v6), errno)
	if why == reasonNoBuffer || why == reasonSendBuffer {
		l.slow.unsent++
	}
	l.notSent(f, why, 1)
	l.returnSlot(f)
}

// notSent counts probes that were due, in the window that is open.
func (l *loop) notSent(f *flow, r reason, n int64) {
	if n > 0 {
		w := f.path.window(l.spans.open().num)
		w.notSent[r] += uint64(n)
		l.reasons[r].Add(uint64(n))
		w.rest(f.index).notSent += uint32(n)
	}
}
