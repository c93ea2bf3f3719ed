//go:build linux

package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// TestReplyComesFromTheAskedAddress: the reflector's host has a second address of each family.
func TestReplyComesFromTheAskedAddress(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	ip(t, h2, "addr add 10.77.2.9/32 dev lo")
	ip(t, h2, "addr add fd77:0:0:9::9/128 dev lo")
	for _, via := range []string{"route add 10.77.2.9/32 via 10.77.2.2", "-6 route add fd77:0:0:9::9/128 via fd77:0:0:2::2"} {
		out, err := l.Fabric().Command(t.Context(), "sh", "-c", "ip "+via).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	reflect(t, h2)
	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	addrs := []netip.Addr{h2.IPv4, netip.MustParseAddr("10.77.2.9"), h2.IPv6, netip.MustParseAddr("fd77:0:0:9::9")}
	var args []string
	for _, a := range addrs {
		args = append(args, target(a))
	}
	p := startPing(t, h1, load(2, 10, 20*time.Millisecond, args...)...)
	results, status := p.wait(t)
	require.Zero(t, status)
	require.Len(t, results, len(addrs))
	for i, r := range results {
		require.Equal(t, args[i], r.Target, "in the order of the command line")
		require.Equal(t, r.allReceived(20), r.counts)
	}
	records, err := tap.Stop()
	require.NoError(t, err)
	from := map[netip.Addr]int64{}
	for _, r := range records {
		if r.Direction == lab.ToHost {
			from[r.Src.Addr()]++
		}
	}
	want := map[netip.Addr]int64{}
	for i, a := range addrs {
		want[a] = results[i].Sent
	}
	require.Equal(t, want, from)
}

// TestTWAMPLight: requests of 41 to 43 octets are answered in their length where that is configured, and
// refused where it is not; shorter ones always are.
func TestTWAMPLight(t *testing.T) {
	t.Parallel()
	for _, light := range []bool{false, true} {
		t.Run(fmt.Sprint(light), func(t *testing.T) {
			l := lab.ForTest(t, 2)
			h1, h2 := l.Host(1), l.Host(2)
			r := run(t, h2, fmt.Sprintf("reflector: {twamp_light: %v}\n", light))
			c := udp(t, h1, netip.AddrPortFrom(h1.IPv4, 0))
			to := netip.AddrPortFrom(h2.IPv4, lab.DefaultReflectorPort)
			b := make([]byte, 100)
			for _, size := range []int{1, 14, 40, 41, 43, 44} {
				request := make([]byte, size)
				copy(request, []byte{0, 0, 1, byte(size), 1, 2, 3, 4, 5, 6, 7, 8, 0, 1})
				_, err := c.WriteToUDPAddrPort(request, to)
				require.NoError(t, err)
				answered := size >= 44 || light && size >= 41
				wait := 300 * time.Millisecond
				if answered {
					wait = 5 * time.Second
				}
				require.NoError(t, c.SetReadDeadline(time.Now().Add(wait)))
				n, _, err := c.ReadFromUDPAddrPort(b)
				if !answered {
					require.True(t, errors.Is(err, os.ErrDeadlineExceeded), "%d octets: %v", size, err)
					continue
				}
				require.NoError(t, err, "%d octets", size)
				require.Equal(t, size, n)
				require.NotEqual(t, request[4:12], b[4:12], "T3 in the place of T1")
				require.Equal(t, request[:4], b[24:28], "the sender's number")
			}
			r.stop(t)
		})
	}
}

// TestAuthenticationEndToEnd: the right key measures; a wrong one, or none, gets no answer, and an
// authenticated prober believes no unauthenticated reply.
func TestAuthenticationEndToEnd(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
	dir := t.TempDir()
	keyFile := func(name string, fill byte) string {
		file := filepath.Join(dir, name)
		key := make([]byte, 32)
		for i := range key {
			key[i] = fill
		}
		require.NoError(t, os.WriteFile(file, []byte(hex.EncodeToString(key)+"\n"), 0o600))
		return file
	}
	right, wrong := keyFile("right", 1), keyFile("wrong", 2)
	r := run(t, h2, fmt.Sprintf("reflector: {auth: [{prefix: 10.77.1.0/24, key_file: %s}]}\n", right))
	reflect(t, h3)
	args := func(more ...string) []string { return load(2, 10, 20*time.Millisecond, more...) }

	tap, err := l.Fabric().Tap(h1)
	require.NoError(t, err)
	got, status := ping(t, h1, args("--key-file", right, target(h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, got.allReceived(20), got.counts)
	require.NotNil(t, got.RTT)
	records, err := tap.Stop()
	require.NoError(t, err)
	truth := lab.RTTTruth(records, lab.TruthOptions{Authenticated: true})
	require.Len(t, truth.RTTs, int(got.Sent))
	for _, x := range records {
		require.GreaterOrEqual(t, x.Length, 112)
		require.NotZero(t, binary.BigEndian.Uint64(x.Head[96:]), "HMAC")
	}

	for name, c := range map[string][]string{
		"wrong key": {"--key-file", wrong, target(h2.IPv4)},
		"no key":    {target(h2.IPv4)},
		"no key, as long as an authenticated one": {"--size", "136", target(h2.IPv4)},
		"reflector without a key":                 {"--key-file", right, target(h3.IPv4)},
	} {
		got, status := ping(t, h1, args(c...)...)
		require.Equal(t, 1, status, name)
		require.Equal(t, got.allUnsplit(20), got.counts, name)
	}
	// Sources outside the prefix are not authenticated.
	got, status = ping(t, h3, args(target(h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, got.allReceived(20), got.counts)
	r.stop(t)
}
