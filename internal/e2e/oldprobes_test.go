//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/llama-agent/llama-agent/internal/lab"
)

const legacyPort = 8100

// oldProbe is a probe as Dropbox's collectors send it: signature, ToS, sent, padding.
func oldProbe(signature uint64, tos byte) []byte {
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, fmt.Appendf(nil, "%010d", signature))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte{tos})
	b = protowire.AppendTag(b, 3, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(time.Now().UnixNano()))
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	return protowire.AppendBytes(b, make([]byte, 1000))
}

// oldPort is a socket of an old collector: its probes have one ToS.
type oldPort struct {
	*net.UDPConn
	tos byte
}

func newOldPort(t testing.TB, h *lab.Host, from netip.Addr, tos byte) oldPort {
	t.Helper()
	c := udp(t, h, netip.AddrPortFrom(from, 0))
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_TOS
		if from.Is6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		require.NoError(t, unix.SetsockoptInt(int(fd), level, option, int(tos)))
	}))
	return oldPort{c, tos}
}

// exchange sends a probe and waits for its reply, which has to be the same octets.
func (p oldPort) exchange(t testing.TB, to netip.AddrPort, b []byte) {
	t.Helper()
	_, err := p.WriteToUDPAddrPort(b, to)
	require.NoError(t, err)
	require.NoError(t, p.SetReadDeadline(time.Now().Add(20*time.Second)))
	got := make([]byte, 65536)
	n, from, err := p.ReadFromUDPAddrPort(got)
	require.NoError(t, err, "no reply to an old probe of ToS %#x", p.tos)
	require.Equal(t, to, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	require.True(t, bytes.Equal(b, got[:n]), "not the same octets")
}

// TestOldProbes: Dropbox's probes come back octet for octet, marked as they ask, from the kernel and from the
// sockets, where whatever other form is answered too; hostile ones end nothing; two reflectors make no loop.
func TestOldProbes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"tc", "socket"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := lab.ForTest(t, 3)
			h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
			var far []*agent
			for _, h := range []*lab.Host{h2, h3} {
				a := startAgent(t, h, "msg=reflecting listen", "reflect", "--legacy", "--mode", mode, "--pin", newPin())
				if mode == "tc" {
					a.logs(t, "mode=tc")
				}
				far = append(far, a)
			}
			tap, err := l.Fabric().Tap(h1)
			require.NoError(t, err)
			between, err := l.Fabric().Tap(h3)
			require.NoError(t, err)

			const each = 20
			want := map[byte]int{}
			for _, six := range []bool{false, true} {
				to := netip.AddrPortFrom(h2.Addr(six), legacyPort)
				for _, tos := range []byte{0, 0xb8, 0x21} {
					p := newOldPort(t, h1, h1.Addr(six), tos)
					for i := range uint64(each) {
						p.exchange(t, to, oldProbe(i, tos))
						want[tos]++
					}
				}
				p := newOldPort(t, h1, h1.Addr(six), 0)
				for _, hostile := range [][]byte{{}, {0}, oldProbe(1, 0)[:500], bytes.Repeat([]byte{0xff}, 1028), oldProbe(1, 0)[:12]} {
					_, err := p.WriteToUDPAddrPort(hostile, to)
					require.NoError(t, err)
				}
				for _, valid := range [][]byte{{0x12, 1, 0x48}, append(oldProbe(2, 0x48), 0x40, 1), oldProbe(3, 0x48)} {
					p.exchange(t, to, valid) // the hostile ones would have been answered before
					want[0x48]++
				}
				// A probe that seems to come from the other reflector. Neither answers it: or it would never end.
				looped := reuse(t, h3, netip.AddrPortFrom(h3.Addr(six), legacyPort))
				_, err := looped.WriteToUDPAddrPort(oldProbe(4, 0), to)
				require.NoError(t, err)
				p.exchange(t, to, oldProbe(5, 0x48)) // it has been through by now
				want[0x48]++
			}
			records, err := tap.Stop()
			require.NoError(t, err)
			got := map[byte]int{}
			for _, r := range records {
				if r.Direction == lab.ToHost && r.Src.Port() == legacyPort {
					got[r.DSCP<<2|r.ECN]++
				}
			}
			require.Equal(t, want, got, "replies by ToS")
			records, err = between.Stop()
			require.NoError(t, err)
			var forged int
			for _, r := range records {
				if r.Src.Port() == legacyPort && r.Dst.Port() == legacyPort {
					forged++
					require.Equal(t, lab.FromHost, r.Direction, "a reflector has answered another")
				}
			}
			require.Equal(t, 2, forged)
			for _, a := range far {
				a.stop(t)
			}
			require.Contains(t, far[0].log.String(), "legacy_malformed=6")
			require.Contains(t, far[0].log.String(), "legacy_no_tos=2")
			require.Contains(t, far[0].log.String(), "port_reflector=2")
			if mode == "tc" { // where only the odd forms come to the sockets
				require.Contains(t, far[0].log.String(), fmt.Sprintf(" legacy=%d", 2*(3*each+2)))
			}
		})
	}
}

// reuse opens a socket at a port that a reflector has already.
func reuse(t testing.TB, h *lab.Host, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c net.PacketConn
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	require.NoError(t, h.Do(func() (err error) {
		c, err = config.ListenPacket(t.Context(), "udp", at.String())
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UDPConn)
}
