package sock

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitStamps waits, for some milliseconds at most, until the kernel stamps what it
// receives. It begins to when the first socket on the host asks for it, but not
// at once (net_enable_timestamp leaves it to a work queue): without waiting, the
// first replies of a short run would have no stamp. Call it with that socket open.
func AwaitStamps() {
	const tries = 50
	fd, err := Open(Options{Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)})
	if err != nil {
		return
	}
	defer unix.Close(fd)
	to, err := unix.Getsockname(fd)
	if err != nil {
		return
	}
	b, m := NewBatch(1, 64), Meta{}
	for range tries {
		if unix.Sendto(fd, []byte("stamp"), 0, to) != nil {
			return // no loopback here
		}
		if n, _ := b.Recv(fd, unix.MSG_DONTWAIT); n == 1 {
			if b.Meta(0, &m); m.Stamp != 0 {
				return
			}
		}
		time.Sleep(time.Millisecond)
	}
}
