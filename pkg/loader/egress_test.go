//go:build linux

package loader

import (
	"errors"
	"math"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// Probes are stamped where they leave: those of known sockets and flows, and no others. What is attached stays out of
// the packets' way, and comes off again.
func TestEgress(t *testing.T) {
	for name, attach := range map[string]func(Interface, *ebpf.Program, owner) (egress, error){
		"as-can-be-had": attachEgress, "clsact": attachClsactEgress,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			lo := h.loopback()
			h.up("lo")
			for _, v6 := range []bool{false, true} {
				p := newProbing(t, v6)
				to, family := netip.MustParseAddrPort("127.0.0.1:862"), unix.AF_INET
				if v6 {
					to, family = netip.MustParseAddrPort("[::1]:862"), unix.AF_INET6
				}
				row, err := p.probes.AddFlow(to, probePort, 0x0102, 4)
				require.NoError(t, err)
				require.NoError(t, p.setLease(math.MaxInt64))
				payload := p.req.payload
				seq := uint32(0)
				send := func(from uint16, known bool) probe.Fate {
					fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
					require.NoError(t, err)
					defer unix.Close(fd)
					require.NoError(t, unix.Bind(fd, sockaddr(netip.AddrPortFrom(unspecified(v6), from))))
					if known {
						require.NoError(t, p.probes.AddSocket(fd))
						defer func() { require.NoError(t, p.probes.RemoveSocket(fd)) }()
					}
					seq++
					be.PutUint32(payload, seq)
					err = unix.Sendto(fd, payload, 0, sockaddr(to))
					require.True(t, err == nil || errors.Is(err, unix.ECONNREFUSED), "%v", err)
					return p.probes.Fate(row, seq, be.Uint64(payload[4:]))
				}
				require.Equal(t, probe.FateNotSeen, send(probePort, true), "before")
				e, err := attach(lo, p.LlamaEgress, ofAgent)
				require.NoError(t, err)
				before := monotonic()
				require.Equal(t, probe.FateSent, send(probePort, true))
				slot := p.probes.slots[p.probes.rows[row].first+seq&3]
				require.GreaterOrEqual(t, int64(slot.T1Ns), before)
				require.LessOrEqual(t, int64(slot.T1Ns), monotonic())
				require.Equal(t, probe.FateNotSeen, send(probePort, false), "another's socket")
				require.Equal(t, probe.FateNotSeen, send(probePort+1, true), "of no flow")
				require.NoError(t, e.detach())
				require.Equal(t, probe.FateNotSeen, send(probePort, true), "after")
				require.NotContains(t, h.qdiscs(lo), "clsact")
			}
		})
	}
}

// A filter that a killed process left is replaced, not doubled. One that somebody deletes is missed.
func TestEgressFilterOfAKilledProcess(t *testing.T) {
	h := newHost(t)
	lo := h.loopback()
	p := newProbing(t, false)
	_, err := attachClsactEgress(lo, p.LlamaEgress, ofAgent)
	require.NoError(t, err)
	e, err := attachClsactEgress(lo, p.LlamaEgress, ofAgent)
	require.NoError(t, err)
	filters, err := filtersAt(lo.Index, netlink.HANDLE_MIN_EGRESS)
	require.NoError(t, err)
	require.Len(t, filters, 1)
	require.NoError(t, e.lost())
	require.NoError(t, netlink.FilterDel(filters[0]))
	require.ErrorIs(t, e.lost(), ErrLost)
	e, err = attachClsactEgress(lo, p.LlamaEgress, ofAgent)
	require.NoError(t, err)
	require.NoError(t, e.lost())
	require.NoError(t, e.detach())
	filters, err = filtersAt(lo.Index, netlink.HANDLE_MIN_EGRESS)
	require.NoError(t, err)
	require.Empty(t, filters)
}

func unspecified(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// An agent and a ping on one interface leave each other's filters alone; what a killed ping left goes with the next one.
func TestEgressFiltersOfTwo(t *testing.T) {
	h := newHost(t)
	lo := h.loopback()
	agent, ping := newProbing(t, false), newProbing(t, false)
	names := func() (out []string) {
		filters, err := filtersAt(lo.Index, netlink.HANDLE_MIN_EGRESS)
		require.NoError(t, err)
		for _, x := range filters {
			out = append(out, x.(*netlink.BpfFilter).Name)
		}
		return out
	}
	mine, err := attachClsactEgress(lo, agent.LlamaEgress, ofAgent)
	require.NoError(t, err)
	_, err = addFilter(lo.Index, netlink.HANDLE_MIN_EGRESS, filterEgressOnce+"4294967295", ping.LlamaEgress) // no process has that number
	require.NoError(t, err)
	theirs, err := attachClsactEgress(lo, ping.LlamaEgress, ofOnce)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{filterEgress, ofOnce.filterName()}, names())
	require.NoError(t, mine.lost())
	require.NoError(t, theirs.lost())
	require.NoError(t, theirs.detach())
	require.Equal(t, []string{filterEgress}, names())
	// Another agent's in its place is not its own.
	_, err = attachClsactEgress(lo, ping.LlamaEgress, ofAgent)
	require.NoError(t, err)
	require.ErrorIs(t, mine.lost(), ErrLost)
	require.NoError(t, mine.detach())
	require.Equal(t, []string{filterEgress}, names(), "nor is it taken off")
}
