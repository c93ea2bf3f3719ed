package reflector

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// flush stamps and sends the replies that wait.
func (w *worker) flush() {
	var t3 [batchLen]stamp.Timestamp
	for i := range w.n {
		r := &w.replies[i]
		if r.asIs {
			continue
		}
		t3[i] = w.clock.Clock.FromUnixNano(time.Now().UnixNano())
		r.result.Finish(r.b, t3[i], r.auth)
	}
	for from := 0; from < w.n; {
		if w.replies[from].dead {
			from++
			continue
		}
		to := from + 1
		for to < w.n && !w.replies[to].dead {
			to++
		}
		n, errno := w.tx.SendSome(w.fd, from, to)
		if errno == 0 && n < to-from {
			w.drainErrors() // or their queue would fill the receive buffer unseen
		}
		for i := from; i < from+n; i++ {
			w.sent(&w.replies[i], t3[i])
		}
		if from += n; errno == 0 {
			continue
		}
		if errno = w.sendAgain(from, errno); errno == 0 {
			w.sent(&w.replies[from], t3[from])
		} else {
			w.sendFailed(from, errno)
		}
		from++
	}
	w.n = 0
}

// sendAgain tries reply i once more where the error was not about it, or can be
// mended. An ICMP error that came back for an earlier reply is told to whatever
// call is next.
func (w *worker) sendAgain(i int, errno unix.Errno) unix.Errno {
	for range 3 { // more may have come back meanwhile
		if !isICMP(errno) {
			break
		}
		w.drainErrors()
		_, errno = w.tx.Send(w.fd, i, i+1)
	}
	if errno == unix.EMSGSIZE {
		// The request came in fragments, so may the reply.
		if sock.Fragment(w.fd, w.v6, true) == nil {
			_, errno = w.tx.Send(w.fd, i, i+1)
		}
		_ = sock.Fragment(w.fd, w.v6, false)
		w.drainErrors() // our own kernel has noted the size there
	}
	return errno
}

// sendFailed takes back reply i, and those behind it of the same session, whose
// numbers would leave a gap that looks like loss on the way.
func (w *worker) sendFailed(i int, errno unix.Errno) {
	why := sendReason(errno)
	w.shared.notices.log(w.shared.log, w.now, why, errno, w.bind, w.tx.Addr(i))
	s := w.replies[i].session
	w.failed(&w.replies[i], why)
	for j := i + 1; j < w.n; j++ {
		if r := &w.replies[j]; s != nil && r.session == s && r.gen == w.replies[i].gen {
			w.failed(r, why)
		}
	}
}

// isICMP tells whether an errno may be an ICMP error about an earlier datagram.
func isICMP(e unix.Errno) bool {
	switch e {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EMSGSIZE,
		unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EOPNOTSUPP:
		return true
	}
	return false
}

func sendReason(e unix.Errno) Reason {
	switch e {
	case unix.EPERM, unix.EACCES:
		return SendForbidden
	case unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		return SendBuffer
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.ENONET, unix.ECONNREFUSED:
		return SendUnreachable
	case unix.EADDRNOTAVAIL, unix.EINVAL, unix.ENODEV, unix.ENXIO:
		return SendNoAddress
	case unix.EMSGSIZE:
		return SendTooBig
	}
	return SendOther
}
