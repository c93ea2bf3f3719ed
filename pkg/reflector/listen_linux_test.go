package reflector

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(fds)
}

func TestStopsAndLeavesNothing(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	c := dial(t, anyPort(loopback4))
	before := openFiles(t)
	var at netip.AddrPort
	for range 20 {
		listen := []netip.AddrPort{anyPort(loopback4), anyPort(loopback6)}
		if at.IsValid() {
			listen[0] = at // the same port again, at once
		}
		r, err := New(Options{Listen: listen, Workers: 3, Policy: Policy{Peers: loopbacks}}, discard)
		require.NoError(t, err)
		at = r.Addrs()[0]
		stop := run(t, r)
		c.exchange(at, probe(t, stamp.ProbeOptions{}, 0))
		stop()
		require.EqualValues(t, 1, r.Stats().Ended[Replied], "counters outlive the sockets")
		require.ErrorIs(t, r.Run(context.Background()), ErrRunning)
		require.NoError(t, r.Close())
	}
	goleak.VerifyNone(t, leak)
	require.Equal(t, before, openFiles(t))
}

func TestListenErrors(t *testing.T) {
	taken := start(t, Options{Listen: []netip.AddrPort{anyPort(loopback4)}}).Addrs()[0]
	free := anyPort(netip.MustParseAddr("127.0.0.2"))
	for name, c := range map[string]struct {
		listen []netip.AddrPort
		want   error
	}{
		"nothing":           {nil, ErrNoListen},
		"reflector_there":   {[]netip.AddrPort{free, taken}, ErrInUse},
		"wildcard_there":    {[]netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, taken.Port())}, ErrInUse},
		"not_our_address":   {[]netip.AddrPort{free, anyPort(netip.MustParseAddr("192.0.2.1"))}, ErrNoAddress},
		"not_our_address_6": {[]netip.AddrPort{free, anyPort(netip.MustParseAddr("2001:db8::1"))}, ErrNoAddress},
	} {
		open := openFiles(t)
		_, err := New(Options{Listen: c.listen}, discard)
		require.ErrorIs(t, err, c.want, name)
		require.Equal(t, open, openFiles(t), name)
	}
	_, err := New(Options{Listen: []netip.AddrPort{free}, Policy: Policy{Auth: []Auth{{}}}}, discard)
	require.EqualError(t, err, "use key 1 of reflector: hmac key is empty")
	require.False(t, errors.Is(err, ErrInUse))
}

// A wildcard and an address on the same port do not stand in each other's way.
func TestWildcardBesideAddress(t *testing.T) {
	fd, err := sock.Open(sock.Options{Bind: anyPort(netip.IPv4Unspecified())})
	require.NoError(t, err)
	free, err := localPort(fd)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	both := start(t, Options{Listen: []netip.AddrPort{
		netip.AddrPortFrom(netip.Addr{}, free), netip.AddrPortFrom(loopback4, free), netip.AddrPortFrom(loopback4, free),
	}, Policy: Policy{Peers: loopbacks}})
	require.Len(t, both.Addrs(), 3, "said twice is bound once")
	c := dial(t, anyPort(netip.IPv4Unspecified()))
	for _, s := range []string{"127.0.0.1", "127.0.0.2"} {
		c.exchange(netip.AddrPortFrom(netip.MustParseAddr(s), free), probe(t, stamp.ProbeOptions{}, 0))
	}
}

// Port 862 without CAP_NET_BIND_SERVICE, in a namespace where that is needed.
func TestListenWithoutRight(t *testing.T) {
	lab.Require(t, lab.Namespaces)
	got := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends with its rights
		got <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err := unix.Capset(&hdr, &none[0]); err != nil {
				return err
			}
			_, err := New(Options{Listen: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, stamp.Port)}}, discard)
			return err
		}()
	}()
	err := <-got
	require.ErrorIs(t, err, ErrPermission)
	require.ErrorContains(t, err, "listen on udp 0.0.0.0:862: ")
}
