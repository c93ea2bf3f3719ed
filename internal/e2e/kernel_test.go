//go:build linux

package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// kernelModes are the steps of the ladder in the kernel.
var kernelModes = []string{"native", "tc", "generic"}

// reflectInKernel starts a reflector on one step of the ladder.
func reflectInKernel(t testing.TB, l *lab.Lab, h *lab.Host, mode string, args ...string) *agent {
	t.Helper()
	if mode == "native" {
		require.NoError(t, l.Fabric().PassXDP(h))
	}
	a := startAgent(t, h, "msg=reflecting listen", append([]string{"reflect", "--mode", mode, "--pin", newPin()}, args...)...)
	a.logs(t, "mode="+mode)
	return a
}

func eachKernelMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range kernelModes {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// TestKernelAnswersWhileTheAgentIsStopped is the proof that the kernel does it: with right stamps, both families.
func TestKernelAnswersWhileTheAgentIsStopped(t *testing.T) {
	eachKernelMode(t, func(t *testing.T, mode string) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		a := reflectInKernel(t, l, h2, mode)
		a.signal(t, syscall.SIGSTOP)
		defer a.signal(t, syscall.SIGCONT)
		for _, six := range []bool{false, true} {
			tap, err := l.Fabric().Tap(h2)
			require.NoError(t, err)
			r, status := ping(t, h1, load(4, 50, 10*time.Millisecond, "--dscp", "ef", target(h2.Addr(six)))...)
			require.Zero(t, status)
			require.Equal(t, r.allReceived(200), r.counts)
			one, dscp := 1, ef
			require.Equal(t, ways{&one, &one}, r.Hops)
			require.Equal(t, ways{&dscp, &dscp}, r.DSCP.ways)
			require.Less(t, r.Responder.P50, 100.0, "µs from T2 to T3")
			records, err := tap.Stop()
			require.NoError(t, err)
			requireStampsBetween(t, records, int(r.Sent))
		}
	})
}

// requireStampsBetween holds T2 and T3 of each reply against the times at which request and reply passed the
// fabric's port to the reflector: the wall clock of one machine.
func requireStampsBetween(t *testing.T, records []lab.Record, replies int) {
	t.Helper()
	const slack = int64(20 * time.Microsecond) // two clocks read one after the other
	type key struct {
		port uint16
		seq  uint32
	}
	asked, n := map[key]int64{}, 0
	for _, r := range records {
		if r.Direction == lab.ToHost {
			asked[key{r.Src.Port(), binary.BigEndian.Uint32(r.Head)}] = r.Time
			continue
		}
		at, ok := asked[key{r.Dst.Port(), binary.BigEndian.Uint32(r.Head[24:])}]
		require.True(t, ok, "a reply to nothing")
		t2, t3 := ntp(r.Head[16:]), ntp(r.Head[4:])
		require.LessOrEqual(t, at-slack, t2)
		require.LessOrEqual(t, t2, t3)
		require.LessOrEqual(t, t3, r.Time+slack)
		n++
	}
	require.Equal(t, replies, n)
}

// ntp reads a timestamp of RFC 5905 as ns since 1970, in the present era.
func ntp(b []byte) int64 {
	const since1900 = 2_208_988_800
	return (int64(binary.BigEndian.Uint32(b))-since1900)*1e9 + int64(uint64(binary.BigEndian.Uint32(b[4:]))*1e9>>32)
}

// inKernel reads what the programs have counted, by action and reason, with `maps`.
func inKernel(t testing.TB, h *lab.Host, pin string) map[string]int {
	t.Helper()
	out, err := command(context.Background(), h, "maps", "--pin", pin).Output()
	require.NoError(t, err)
	_, reasons, ok := strings.Cut(string(out), "llama_reason\n")
	require.True(t, ok)
	said := map[string]int{}
	for line := range strings.Lines(reasons) {
		f := strings.Fields(line)
		require.Len(t, f, 3)
		n, err := strconv.Atoi(f[2])
		require.NoError(t, err)
		said[f[0]+" "+strings.TrimSuffix(f[1], ":")] = n
	}
	return said
}

// TestKernelPassesUpWhatItDoesNotKnow: what has to authenticate is answered over sockets, on the same port.
func TestKernelPassesUpWhatItDoesNotKnow(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600))
	eachKernelMode(t, func(t *testing.T, mode string) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		if mode == "native" {
			require.NoError(t, l.Fabric().PassXDP(h2))
		}
		far := runWith(t, h2, ", mode: "+mode, fmt.Sprintf("reflector: {auth: [{prefix: %s/32, key_file: %s}]}\ntargets: {}\n", h1.IPv4, key))
		var sent []int64 // what a busy machine lets the prober send of the 50
		for _, args := range [][]string{{"--key-file", key, target(h2.IPv4)}, {target(h2.IPv6)}} {
			r, status := ping(t, h1, load(2, 25, 10*time.Millisecond, args...)...)
			require.Zero(t, status, "%v", args)
			require.Equal(t, r.allReceived(50), r.counts, "%v", args)
			sent = append(sent, r.Sent)
		}
		out, err := command(context.Background(), h2, "maps", "--pin", far.pin).Output()
		require.NoError(t, err)
		require.Contains(t, string(out), fmt.Sprintf("  eth0: seen %d, answered %d, passed up %d, dropped 0\n", sent[0]+sent[1], sent[1], sent[0]))
		require.Contains(t, string(out), fmt.Sprintf("  %s/32 stranger, allowed, may have to authenticate: to the sockets\n", h1.IPv4))
		said := inKernel(t, h2, far.pin)
		require.EqualValues(t, sent[0], said["pass keyed"])
		require.EqualValues(t, sent[1], said["reply replied"])
		far.stop(t)
	})
}

// TestKernelAfterKill: a dead agent's programs go on until the lease runs out, the next agent takes them over, and
// what was under way meanwhile is not lost. A stop leaves nothing behind.
func TestKernelAfterKill(t *testing.T) {
	eachKernelMode(t, func(t *testing.T, mode string) {
		l := lab.ForTest(t, 2)
		h1, h2 := l.Host(1), l.Host(2)
		if mode == "native" {
			require.NoError(t, l.Fabric().PassXDP(h2))
		}
		pin := newPin()
		args := []string{"reflect", "--mode", mode, "--pin", pin}
		old := startAgent(t, h2, "msg=reflecting listen", args...)
		links := bpfLinks(t, h2, pin)
		require.Len(t, links, 1)
		p := startPing(t, h1, load(2, 150, 10*time.Millisecond, target(h2.IPv4))...)
		time.Sleep(400 * time.Millisecond)
		old.kill(t)
		time.Sleep(300 * time.Millisecond)
		again := startAgent(t, h2, "msg=reflecting listen", args...)
		results, status := p.wait(t)
		require.Zero(t, status)
		require.Equal(t, results[0].allReceived(300), results[0].counts, "sessions went on: not even unsplit")
		require.Equal(t, links, bpfLinks(t, h2, pin), "the same link, taken over")
		again.stop(t)
		require.NoDirExists(t, pin)
		require.NotContains(t, string(tool(t, h2, "ip", "-details", "link", "show", "eth0")), "xdp")
	})
}

// TestSocketsAfterAKilledKernelAgent: the programs that it left pass everything at once, not at the end of their lease.
func TestSocketsAfterAKilledKernelAgent(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	pin := newPin()
	startAgent(t, h2, "msg=reflecting listen", "reflect", "--mode", "tc", "--pin", pin).kill(t)
	require.Len(t, bpfLinks(t, h2, pin), 1)
	a := startAgent(t, h2, "msg=reflecting listen", "reflect", "--mode", "socket", "--pin", pin)
	a.logs(t, "pass everything from now on")
	before := inKernel(t, h2, pin)
	r, status := ping(t, h1, load(1, 5, 20*time.Millisecond, target(h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, r.allReceived(5), r.counts)
	after := inKernel(t, h2, pin)
	require.Equal(t, before["reply replied"], after["reply replied"])
	require.GreaterOrEqual(t, after["pass disarmed"], before["pass disarmed"]+5)
	a.stop(t)
	require.Contains(t, string(tool(t, h2, program, "detach", "--pin", pin)), "tc program on eth0")
	require.NoDirExists(t, pin)
}

// bpfLinks are the ids of the links that are pinned in a folder.
func bpfLinks(t testing.TB, h *lab.Host, pin string) (ids []int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pin, "link_*"))
	require.NoError(t, err)
	for _, f := range files {
		var l struct{ ID int }
		require.NoError(t, json.Unmarshal(tool(t, h, "bpftool", "--json", "link", "show", "pinned", f), &l))
		ids = append(ids, l.ID)
	}
	return ids
}

// TestLeaseRunsOut: without a sign of life the programs pass everything, to sockets whose process is stopped too.
func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	far := runWith(t, h2, ", mode: tc, lease: 5s", "targets: {}\n")
	far.signal(t, syscall.SIGSTOP)
	r, status := ping(t, h1, load(1, 5, 20*time.Millisecond, target(h2.IPv4))...)
	require.Zero(t, status)
	require.Equal(t, r.allReceived(5), r.counts)
	time.Sleep(6 * time.Second)
	r, _ = ping(t, h1, load(1, 5, 20*time.Millisecond, "--max-loss", "1", target(h2.IPv4))...)
	require.Equal(t, r.allUnsplit(5), r.counts)
	require.Equal(t, 5, inKernel(t, h2, far.pin)["pass lease_expired"])
	far.signal(t, syscall.SIGCONT)
	eventually(t, func() bool {
		r, status = ping(t, h1, load(1, 5, 20*time.Millisecond, "--max-loss", "1", target(h2.IPv4))...)
		return status == 0 && r.Received == 5
	}, "answers again")
	far.stop(t)
}

// TestKernelLeavesChecksumsRight: with the offload on at both ends a packet carries no checksum yet when it is
// reflected, without it a whole one. No host may find a wrong one.
func TestKernelLeavesChecksumsRight(t *testing.T) {
	for _, offload := range []string{"on", "off"} {
		eachKernelMode(t, func(t *testing.T, mode string) {
			t.Run("offload "+offload, func(t *testing.T) {
				l := lab.ForTest(t, 2)
				h1, h2 := l.Host(1), l.Host(2)
				for _, h := range []*lab.Host{h1, h2} {
					tool(t, h, "ethtool", "-K", "eth0", "tx", offload)
				}
				reflectInKernel(t, l, h2, mode)
				for _, six := range []bool{false, true} {
					for _, size := range []string{"68", "1400"} {
						r, status := ping(t, h1, load(2, 25, 5*time.Millisecond, "--size", size, target(h2.Addr(six)))...)
						require.Zero(t, status)
						require.Equal(t, r.allReceived(50), r.counts)
					}
				}
				for _, h := range []*lab.Host{h1, h2} {
					require.Equal(t, [2]int{}, wrongChecksums(t, h))
				}
			})
		})
	}
}

// wrongChecksums are the UDP datagrams with a wrong checksum that came to a host, of IPv4 and of IPv6.
func wrongChecksums(t testing.TB, h *lab.Host) (n [2]int) {
	t.Helper()
	for i, name := range []string{"UdpInCsumErrors", "Udp6InCsumErrors"} {
		out := tool(t, h, "nstat", "--zeros", "--ignore", "--noupdate", name)
		f := strings.Fields(string(out))
		at := slices.Index(f, name)
		require.Positive(t, at, "%s", out)
		var err error
		n[i], err = strconv.Atoi(f[at+1])
		require.NoError(t, err)
	}
	return n
}

// TestKernelReflectsJumboFrames: probes of 8,900 octets, as large as an MTU of 9000 lets them be.
func TestKernelReflectsJumboFrames(t *testing.T) {
	eachKernelMode(t, func(t *testing.T, mode string) {
		l := lab.WithOptions(t, lab.Options{Hosts: 2, MTU: 9000})
		h1, h2 := l.Host(1), l.Host(2)
		a := reflectInKernel(t, l, h2, mode)
		a.signal(t, syscall.SIGSTOP)
		defer a.signal(t, syscall.SIGCONT)
		for _, six := range []bool{false, true} {
			r, status := ping(t, h1, load(2, 25, 10*time.Millisecond, "--size", "8900", target(h2.Addr(six)))...)
			require.Zero(t, status)
			require.Equal(t, r.allReceived(50), r.counts)
		}
	})
}

// TestForgedPacketMakesNoLoop: a packet that seems to come from another reflector is not answered where the ports
// are equal, and at most once where they differ.
func TestForgedPacketMakesNoLoop(t *testing.T) {
	eachKernelMode(t, func(t *testing.T, mode string) {
		for _, c := range []struct {
			port uint16 // of the other reflector
			most int    // packets in all, beside the forged one
		}{{lab.DefaultReflectorPort, 0}, {8862, 1}} {
			l := lab.ForTest(t, 3)
			h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
			reflectInKernel(t, l, h2, mode)
			reflectInKernel(t, l, h3, mode, "--listen", fmt.Sprintf(":%d", c.port))
			tap, err := l.Fabric().Tap(h2)
			require.NoError(t, err)
			forge(t, h1, netip.AddrPortFrom(h3.IPv4, c.port), netip.AddrPortFrom(h2.IPv4, lab.DefaultReflectorPort))
			time.Sleep(200 * time.Millisecond)
			records, err := tap.Stop()
			require.NoError(t, err)
			require.NotEmpty(t, records, "the forged one arrives")
			require.LessOrEqual(t, len(records)-1, c.most)
		}
	})
}

// forge sends a good request from an address that is not the host's.
func forge(t testing.TB, h *lab.Host, from, to netip.AddrPort) {
	t.Helper()
	packet := make([]byte, 20+8+44)
	udp, request := packet[20:], packet[28:]
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(packet[12:], src[:])
	copy(packet[16:], dst[:])
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp))) // checksum 0: there is none
	request[13], request[15] = 1, 1
	require.NoError(t, h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: dst})
	}))
}

// TestKernelModeThatCannotBeHad: a step that was asked for by name is an error with exit status 2, never another one
// in silence; auto says why and goes on.
func TestKernelModeThatCannotBeHad(t *testing.T) {
	l := lab.ForTest(t, 1)
	h := l.Host(1)
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"loopback has no native XDP", []string{"--mode", "native", "--interface", "lo", "--pin", newPin()}, "native XDP"},
		{"no such interface", []string{"--mode", "tc", "--interface", "eth9", "--pin", newPin()}, `interface "eth9": no such interface`},
		{"no BPF file system", []string{"--mode", "tc", "--interface", "eth0", "--pin", filepath.Join(t.TempDir(), "pin")}, "mount -t bpf"},
		{"too many ports", append([]string{"--mode", "tc", "--pin", newPin()}, ports(17)...), "at most 16"},
	} {
		out, err := command(context.Background(), h, append([]string{"reflect"}, c.args...)...).CombinedOutput()
		require.Equal(t, 2, exitStatus(t, err), "%s: %s", c.name, out)
		require.Contains(t, string(out), c.says, c.name)
	}
	a := startAgent(t, h, "msg=reflecting listen", "reflect", "--pin", filepath.Join(t.TempDir(), "pin"))
	a.logs(t, "reflecting over sockets only")
	a.logs(t, "mount -t bpf")
	a.stop(t)
	for _, family := range []string{"-4", "-6"} {
		tool(t, h, "ip", family, "route", "del", "default")
	}
	out, err := command(context.Background(), h, "reflect", "--mode", "tc", "--pin", newPin()).CombinedOutput()
	require.Equal(t, 2, exitStatus(t, err), "no interface: %s", out)
	require.Contains(t, string(out), "there is no interface for it")
}

func ports(n int) (args []string) {
	for i := range n {
		args = append(args, "--listen", fmt.Sprintf(":%d", 9000+i))
	}
	return args
}
