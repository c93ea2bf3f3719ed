package collector

import (
	"encoding/binary"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

// A datagram with a wrong checksum is dropped at the socket, and is no drop of this host's; one that finds no room is.
func TestWrongChecksumIsNoOverflow(t *testing.T) {
	for network, c := range map[string]struct {
		family int
		at     unix.Sockaddr
		addr   string
	}{
		"ip4:udp": {unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, "127.0.0.1"},
		"ip6:udp": {unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}, "::1"},
	} {
		t.Run(network, func(t *testing.T) {
			fd, err := unix.Socket(c.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			require.NoError(t, err)
			defer unix.Close(fd)
			require.NoError(t, unix.Bind(fd, c.at))
			port := boundPort(t, fd)
			l, s := &loop{}, &socket{fd: fd}
			l.overflows.forget()

			raw, err := net.Dial(network, c.addr)
			require.NoError(t, err)
			defer raw.Close()
			bad := make([]byte, 8+200) // so long that it is verified where it is read
			binary.BigEndian.PutUint16(bad[0:], 4000)
			binary.BigEndian.PutUint16(bad[2:], uint16(port))
			binary.BigEndian.PutUint16(bad[4:], uint16(len(bad)))
			binary.BigEndian.PutUint16(bad[6:], 0x1234)
			_, err = raw.Write(bad)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				_, _, err := unix.Recvfrom(fd, make([]byte, 300), 0)
				require.ErrorIs(t, err, unix.EAGAIN)
				n, err := sock.Drops(fd)
				return err == nil && n == 1
			}, time.Second, time.Millisecond)
			require.False(t, l.claimDrop(s), "bent on the way")

			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
			to, err := net.Dial("udp", net.JoinHostPort(c.addr, strconv.Itoa(port)))
			require.NoError(t, err)
			defer to.Close()
			for range 100 {
				_, err = to.Write(make([]byte, 200))
				require.NoError(t, err)
			}
			require.True(t, l.claimDrop(s), "no room")
		})
	}
}

func boundPort(t *testing.T, fd int) int {
	t.Helper()
	at, err := unix.Getsockname(fd)
	require.NoError(t, err)
	if v6, ok := at.(*unix.SockaddrInet6); ok {
		return v6.Port
	}
	return at.(*unix.SockaddrInet4).Port
}
