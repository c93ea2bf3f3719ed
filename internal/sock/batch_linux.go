package sock

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlLen holds everything that the options of Open make the kernel report on
// one datagram, an ICMP error with its offender's address included.
const controlLen = 256

// Batch is a fixed number of datagrams with their addresses and control messages.
type Batch struct {
	hdrs    []unix.Mmsghdr
	iovs    []unix.Iovec
	names   []unix.RawSockaddrInet6
	control []byte
	buf     []byte
	bufLen  int
	used    int // headers that the last Recv may have changed
}

// NewBatch returns a batch of n datagrams of at most bufLen octets each.
func NewBatch(n, bufLen int) *Batch {
	b := &Batch{
		hdrs: make([]unix.Mmsghdr, n), iovs: make([]unix.Iovec, n),
		names:   make([]unix.RawSockaddrInet6, n),
		control: make([]byte, n*controlLen), buf: make([]byte, n*bufLen), bufLen: bufLen, used: n,
	}
	for i := range b.hdrs {
		h := &b.hdrs[i].Hdr
		b.iovs[i].Base = &b.buf[i*bufLen]
		b.iovs[i].SetLen(bufLen)
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
	}
	return b
}

// Cap returns how many datagrams fit.
func (b *Batch) Cap() int { return len(b.hdrs) }

// Recv receives up to Cap datagrams into a batch that is for receiving only. flags: MSG_DONTWAIT, MSG_WAITFORONE,
// MSG_ERRQUEUE. It returns the number received, or 0 with the errno.
func (b *Batch) Recv(fd, flags int) (int, unix.Errno) {
	// Most often one datagram waits: to set all headers up would cost as much as it.
	for i := range b.used {
		h := &b.hdrs[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = &b.control[i*controlLen]
		h.SetControllen(controlLen)
		h.Flags = 0
		b.iovs[i].SetLen(b.bufLen)
	}
	var n uintptr
	var errno unix.Errno
	if flags&unix.MSG_DONTWAIT != 0 {
		// Cannot block: the scheduler need not be told.
		n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs[0])), uintptr(len(b.hdrs)), uintptr(flags), 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs[0])), uintptr(len(b.hdrs)), uintptr(flags), 0, 0)
	}
	if errno != 0 {
		b.used = 1
		return 0, errno
	}
	b.used = min(int(n)+1, len(b.hdrs))
	return int(n), 0
}

// Send sends datagrams from to to-1 without blocking, and returns how many left.
// The errno belongs to datagram from+n; datagrams after it were not tried.
func (b *Batch) Send(fd, from, to int) (n int, errno unix.Errno) {
	for from+n < to && errno == 0 {
		var r int
		r, errno = b.SendSome(fd, from+n, to)
		n += r
	}
	return n, errno
}

// SendSome is Send that may end early without an error: the kernel keeps an error
// behind the first datagram to itself. If it was about the datagram at which it
// ended, the next call begins with that one and is told. If it was an ICMP error
// about an earlier one, it is in the error queue and nobody else will be told.
func (b *Batch) SendSome(fd, from, to int) (n int, errno unix.Errno) {
	for {
		r, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.hdrs[from])), uintptr(to-from), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(r), 0
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// Buffer returns the whole buffer of datagram i.
func (b *Batch) Buffer(i int) []byte { return b.buf[i*b.bufLen : (i+1)*b.bufLen] }

// Payload returns what was received as datagram i.
func (b *Batch) Payload(i int) []byte {
	return b.buf[i*b.bufLen : i*b.bufLen+min(int(b.hdrs[i].Len), b.bufLen)]
}

// Truncated says whether datagram i was longer than its buffer.
func (b *Batch) Truncated(i int) bool { return b.hdrs[i].Hdr.Flags&unix.MSG_TRUNC != 0 }

// Addr returns the address that datagram i came from; for an ICMP error, the
// destination of the datagram it quotes. It is invalid if there is none.
func (b *Batch) Addr(i int) netip.AddrPort {
	if b.hdrs[i].Hdr.Namelen == 0 {
		return netip.AddrPort{}
	}
	return rawAddrPort(&b.names[i])
}

// SetLen sets how many octets of the buffer datagram i is to send.
func (b *Batch) SetLen(i, n int) { b.iovs[i].SetLen(n) }

// SetAddr sets where datagram i goes.
func (b *Batch) SetAddr(i int, to *Sockaddr) {
	b.names[i] = to.raw
	b.hdrs[i].Hdr.Namelen = to.len
}

// ReplyTo sends datagram i as the answer to datagram j of from, of the same
// batch size or another: to the address, port and scope it came from.
func (b *Batch) ReplyTo(i int, from *Batch, j int) {
	b.names[i] = from.names[j]
	b.hdrs[i].Hdr.Namelen = from.hdrs[j].Hdr.Namelen
}

// Move makes datagram i of b carry the same buffer as datagram j of from, so that
// what was received is sent without a copy. It stays so until the next Move.
func (b *Batch) Move(i int, from *Batch, j, n int) {
	b.iovs[i].Base = from.iovs[j].Base
	b.iovs[i].SetLen(n)
}
