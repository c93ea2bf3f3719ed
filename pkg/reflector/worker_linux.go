package reflector

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

const (
	// batchLen bounds how long the first of a batch waits for the last.
	batchLen = 8
	// bufLen holds any UDP datagram; only pages that were touched cost memory.
	bufLen = 1 << 16
)

// worker reads one socket and answers on it.
type worker struct {
	*engine
	bind netip.AddrPort
	v6   bool

	stop  atomic.Bool
	mu    sync.Mutex // protects the fields below from closing while they are used
	fd    int        // -1 once closed
	poll  *sock.Pollable
	drops uint32 // of the kernel, when it was closed

	rx, tx, errs *sock.Batch
	replies      [batchLen]reply
	n            int // replies that are not sent yet
	q            request
	out          sock.Outgoing
	errMeta      sock.Meta
}

func newWorker(s *shared, bind netip.AddrPort, legacy bool) (*worker, error) {
	fd, err := sock.Open(sock.Options{
		Bind: bind, Device: s.options.Device, ReusePort: true,
		RecvBuffer: s.options.SocketBuffer, SendBuffer: s.options.SocketBuffer,
		TTL:          255,
		LocalAddr:    true, // a reply leaves from the address that was asked
		RecvErr:      true, // a reply that the qdisc drops must not count as sent
		DontFragment: true, // or big probes would find no black hole on the way back
	})
	if err != nil {
		return nil, err
	}
	port, err := localPort(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	poll, err := sock.NewPollable(fd, "reflector socket")
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	w := &worker{
		engine: newEngine(s, port, legacy), fd: fd, poll: poll,
		bind: netip.AddrPortFrom(bind.Addr(), port), v6: bind.Addr().Is6(),
		rx: sock.NewBatch(batchLen, bufLen), tx: sock.NewBatch(batchLen, 1),
		errs: sock.NewBatch(batchLen, 1),
	}
	return w, nil
}

// run answers until the socket is shut down.
func (w *worker) run() {
	// The descriptor is closed only after run: Read has no error to tell.
	_ = w.poll.Read(func(uintptr) (done bool) {
		for !w.stop.Load() {
			n, errno := w.rx.Recv(w.fd, unix.MSG_DONTWAIT)
			switch errno {
			case 0:
				w.answerBatch(n)
			case unix.EAGAIN:
				return false
			default:
				w.recvFailed(errno)
			}
		}
		return true
	})
}

// answerBatch answers the n datagrams that were received.
func (w *worker) answerBatch(n int) {
	w.begin()
	user := int64(0) // the user's clock, read if it is needed
	for i := range n {
		q := &w.q
		// A socket that is shut down returns one without an address.
		if q.src = w.rx.Addr(i); !q.src.IsValid() {
			continue
		}
		q.b, q.truncated = w.rx.Payload(i), w.rx.Truncated(i)
		w.rx.Meta(i, &q.meta)
		if q.meta.Stamp == 0 {
			if user == 0 {
				user = time.Now().UnixNano()
			}
			q.meta.Stamp = user
			w.count.userStamps.Add(1)
		}
		if w.n > 0 && w.mustWait(q.b) {
			w.flush()
		}
		if w.process(q, &w.replies[w.n]) == Replied {
			w.queue(i)
		}
	}
	w.flush()
}

// queue prepares the send of the reply to datagram i, in its own buffer.
func (w *worker) queue(i int) {
	r, m := &w.replies[w.n], &w.q.meta
	w.out = sock.Outgoing{TOS: r.tos}
	if m.Local != w.bind.Addr() { // or the socket's own address is right
		w.out.Source = m.Local
	}
	if m.Local.Is6() && m.Local.IsLinkLocalUnicast() {
		w.out.Source, w.out.IfIndex = m.Local, m.IfIndex
	}
	w.tx.Move(w.n, w.rx, i, len(r.b))
	w.tx.ReplyTo(w.n, w.rx, i)
	w.tx.SetControl(w.n, w.v6, &w.out)
	w.n++
}

// recvFailed handles an error that a receive returned. ICMP errors are told that
// way, once each, and their queue counts towards the receive buffer.
func (w *worker) recvFailed(errno unix.Errno) {
	switch {
	case errno == unix.EINTR:
	case w.drainErrors() > 0:
	case isICMP(errno):
	default:
		w.count.recvErrors.Add(1)
		if !w.stop.Load() {
			time.Sleep(10 * time.Millisecond) // whatever it is, do not spin on it
		}
	}
}

// drainErrors empties the error queue and returns how many were in it.
func (w *worker) drainErrors() (total int) {
	for {
		n, _ := w.errs.Recv(w.fd, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if n == 0 {
			return total
		}
		total += n
		for i := range n {
			w.errs.Meta(i, &w.errMeta)
			if o := w.errMeta.Error.Origin; o == unix.SO_EE_ORIGIN_ICMP || o == unix.SO_EE_ORIGIN_ICMP6 {
				w.count.icmpErrors.Add(1)
			}
		}
	}
}

// shutdown wakes the reader, which then finds that it is to stop. ENOTCONN is
// what shutdown(2) says of a socket without a peer, after it has done its work.
func (w *worker) shutdown() {
	w.stop.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		_ = unix.Shutdown(w.fd, unix.SHUT_RD)
	}
}

// close ends the socket; run must have returned.
func (w *worker) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return nil
	}
	w.drops, _ = sock.Drops(w.fd)
	err := w.poll.Close()
	w.fd = -1
	return err
}

func (w *worker) kernelDrops() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return w.drops
	}
	n, _ := sock.Drops(w.fd)
	return n
}
