//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echo answers every datagram at port 7777 of the host until the test ends.
func echo(t *testing.T, h *Host) {
	t.Helper()
	var conn *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: 7777})
		return err
	}))
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
}

// dial opens a socket on the host towards port 7777 of addr.
func dial(t *testing.T, h *Host, addr netip.Addr) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 7777)))
		return err
	}))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// exchange sends n datagrams one after the other and returns how many came back within the wait.
func exchange(t *testing.T, c *net.UDPConn, n int, wait time.Duration) int {
	t.Helper()
	got := 0
	for i := range n {
		want := fmt.Sprintf("datagram %d", i)
		_, err := c.Write([]byte(want))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(wait)))
		buf := make([]byte, 64)
		m, err := c.Read(buf)
		if os.IsTimeout(err) {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, string(buf[:m]))
		got++
	}
	return got
}

func families(t *testing.T, fn func(t *testing.T, six bool)) {
	for _, six := range []bool{false, true} {
		t.Run(map[bool]string{false: "ipv4", true: "ipv6"}[six], func(t *testing.T) { fn(t, six) })
	}
}

func TestFirstPacketCrosses(t *testing.T) {
	families(t, func(t *testing.T, six bool) {
		l := ForTest(t, 3)
		for _, to := range l.Hosts()[1:] {
			echo(t, to)
			require.Equal(t, 1, exchange(t, dial(t, l.Host(1), to.Addr(six)), 1, time.Second), "to %s", to.Name)
		}
	})
}

func TestCommandRunsInside(t *testing.T) {
	l := ForTest(t, 2)
	ctx := context.Background()
	out, err := l.Host(2).Command(ctx, "readlink", "/proc/self/ns/net").CombinedOutput()
	require.NoError(t, err)
	var inside string
	require.NoError(t, l.Host(2).Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	require.Equal(t, inside+"\n", string(out))
	own, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotEqual(t, own, inside)

	require.ErrorContains(t, l.Host(1).Command(ctx, "no-such-program").Run(), "no-such-program")
}

func TestDoRestoresTheThread(t *testing.T) {
	l := ForTest(t, 1)
	self := func() string {
		s, err := os.Readlink("/proc/thread-self/ns/net")
		require.NoError(t, err)
		return s
	}
	require.NoError(t, onThread(func() error {
		before := self()
		require.NoError(t, l.Host(1).Do(func() error {
			host := self()
			require.NotEqual(t, before, host)
			require.NoError(t, l.Fabric().Do(func() error { require.NotEqual(t, host, self()); return nil }))
			require.Equal(t, host, self())
			return nil
		}))
		require.Panics(t, func() { _ = l.Host(1).Do(func() error { panic("inside") }) })
		require.Equal(t, before, self())
		return nil
	}))
	require.ErrorIs(t, l.Host(1).Do(func() error { return os.ErrClosed }), os.ErrClosed)
}

func TestCloseLeavesNothing(t *testing.T) {
	l := ForTest(t, 2)
	mine := filepath.Join(netnsDir, l.id+"-*")
	names, err := filepath.Glob(mine)
	require.NoError(t, err)
	require.Len(t, names, 3)
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, link := range links {
		require.NotContains(t, link.Name, "p-h", "ports belong into the fabric only")
	}
	sleeper := l.Host(1).Command(context.Background(), "sleep", "60")
	require.NoError(t, sleeper.Start())
	waitInside(t, sleeper.Process.Pid, l.Host(1))

	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "a second Close is harmless")
	require.EqualError(t, sleeper.Wait(), "signal: killed")
	names, err = filepath.Glob(mine)
	require.NoError(t, err)
	require.Empty(t, names)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), l.id)
}

// waitInside returns once nsenter has moved the process into the host's namespace.
func waitInside(t *testing.T, pid int, h *Host) {
	t.Helper()
	var want string
	require.NoError(t, h.Do(func() (err error) { want, err = os.Readlink("/proc/thread-self/ns/net"); return err }))
	require.Eventually(t, func() bool {
		have, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err == nil && have == want
	}, 5*time.Second, time.Millisecond)
}

func TestLabsAreApart(t *testing.T) {
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, i == 1)
			_, err := p.lab.Fabric().Drop(Rule{To: p.lab.Host(2), Every: uint32(2 + i)})
			require.NoError(t, err)
			p.send(t, 6, 8)
			p.received(t, []int{3, 4}[i])
		})
	}
}

func TestNames(t *testing.T) {
	for _, o := range []Options{{}, {Hosts: 255}, {Names: []string{"a", "a"}}, {Names: []string{"fabric"}}, {Names: []string{"name-too-long-"}}, {Names: []string{"a/b"}}} {
		_, err := o.names()
		require.Error(t, err, "%+v", o)
	}
	names, err := Options{Hosts: 2}.names()
	require.NoError(t, err)
	require.Equal(t, []string{"h1", "h2"}, names)
}

func BenchmarkNewThreeHosts(b *testing.B) {
	Require(b, Namespaces)
	for b.Loop() {
		l, err := New(Options{Hosts: 3})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, l.Close())
		b.StartTimer()
	}
}

func BenchmarkCloseThreeHosts(b *testing.B) {
	Require(b, Namespaces)
	for b.Loop() {
		b.StopTimer()
		l, err := New(Options{Hosts: 3})
		require.NoError(b, err)
		b.StartTimer()
		require.NoError(b, l.Close())
	}
}
