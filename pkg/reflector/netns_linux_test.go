package reflector

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// inLab runs a reflector on port 862 of host 1; its log goes to the buffer once
// the test has stopped it.
func inLab(t *testing.T, l *lab.Lab, p Policy) (r *Reflector, stop func() string) {
	t.Helper()
	var log bytes.Buffer
	require.NoError(t, l.Host(1).Do(func() (err error) {
		r, err = New(Options{Workers: 1, Listen: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, stamp.Port)}, Policy: p},
			slog.New(slog.NewTextHandler(&log, nil)))
		return err
	}))
	end := run(t, r)
	return r, func() string { end(); return log.String() }
}

func dialIn(t *testing.T, h *lab.Host, bind netip.AddrPort) (c *client) {
	t.Helper()
	require.NoError(t, h.Do(func() error { c = dial(t, bind); return nil }))
	return c
}

var labPeers = prefixes("10.77.0.0/16", "fd77::/16")

// Two hosts, a router between them, both families.
func TestAcrossTheFabric(t *testing.T) {
	l := lab.ForTest(t, 2)
	r, _ := inLab(t, l, Policy{Peers: labPeers})
	for _, six := range []bool{false, true} {
		c := dialIn(t, l.Host(2), anyPort(l.Host(2).Addr(six)))
		to := netip.AddrPortFrom(l.Host(1).Addr(six), stamp.Port)
		for i := range uint32(3) {
			c.send(to, probe(t, stamp.ProbeOptions{DSCP1: 46}, i), 46<<2, 255)
			b, from, m := c.recv()
			require.Equal(t, to, from)
			require.EqualValues(t, 46<<2, m.TOS)
			require.EqualValues(t, 254, m.TTL, "255 and one hop")
			var got stamp.Reply
			require.NoError(t, stamp.DecodeReply(b, &got))
			require.EqualValues(t, 254, got.SenderTTL)
			require.Equal(t, i, got.Seq)
		}
	}
	want := ends(map[Reason]uint64{Replied: 6})
	want.PeerSessions = 2
	eventually(t, r, want)
}

// A reply that the host cannot send is counted by its cause, and its number is
// used by the next that leaves: the session says received, not replied.
func TestRepliesThatCannotBeSent(t *testing.T) {
	for _, c := range []struct {
		name  string
		why   Reason
		logs  bool
		fault func(t *testing.T, l *lab.Lab) (mend func())
	}{
		{"firewall", SendForbidden, true, dropOutput},
		{"prohibited", SendForbidden, true, routeType(unix.RTN_PROHIBIT)},
		{"queue_full", SendBuffer, true, tinyQueue},
		{"unreachable", SendUnreachable, false, routeType(unix.RTN_UNREACHABLE)},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lab.ForTest(t, 2)
			r, stop := inLab(t, l, Policy{Peers: labPeers})
			s := dialIn(t, l.Host(2), anyPort(l.Host(2).IPv4))
			to := netip.AddrPortFrom(l.Host(1).IPv4, stamp.Port)
			b := probe(t, stamp.ProbeOptions{}, 0)
			require.Zero(t, s.exchange(to, b).Seq)
			mend := c.fault(t, l)
			for range 20 {
				s.send(to, b, 0, 64)
			}
			want := ends(map[Reason]uint64{Replied: 1, c.why: 20})
			want.PeerSessions = 1
			eventually(t, r, want)
			mend()
			got := s.exchange(to, b)
			require.EqualValues(t, 1, got.Seq)
			require.EqualValues(t, 22, got.DM.ReflectorRx)
			require.EqualValues(t, 2, got.DM.ReflectorTx)
			lines := 0
			if c.logs {
				lines = 1
			}
			log := stop()
			require.Equal(t, lines, strings.Count(log, "replies cannot be sent"), log)
		})
	}
}

// dropOutput drops UDP that the host itself sends from port 862.
func dropOutput(t *testing.T, l *lab.Lab) (mend func()) {
	t.Helper()
	lab.Require(t, lab.Nftables)
	var nft *nftables.Conn
	require.NoError(t, l.Host(1).Do(func() (err error) { nft, err = nftables.New(nftables.AsLasting()); return err }))
	t.Cleanup(func() { _ = nft.CloseLasting() })
	table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "drop"})
	chain := nft.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	require.NoError(t, nft.Flush())
	return func() {
		nft.DelTable(table)
		require.NoError(t, nft.Flush())
	}
}

// tinyQueue gives host 1 a queue that has no room for any packet.
func tinyQueue(t *testing.T, l *lab.Lab) (mend func()) {
	t.Helper()
	lab.Require(t, lab.TokenBucket)
	const rate, burst = 1000, 50 // octets a second, octets
	var q *netlink.Tbf
	require.NoError(t, l.Host(1).Do(func() error {
		link, err := netlink.LinkByName("eth0")
		require.NoError(t, err)
		q = &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index,
			Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			Rate: rate, Limit: burst, Buffer: netlink.Xmittime(rate, burst)}
		return netlink.QdiscReplace(q)
	}))
	return func() {
		require.NoError(t, l.Host(1).Do(func() error { return netlink.QdiscDel(q) }))
	}
}

// routeType gives host 1 a route to host 2 that makes every send fail.
func routeType(typ int) func(*testing.T, *lab.Lab) func() {
	return func(t *testing.T, l *lab.Lab) (mend func()) {
		t.Helper()
		dst := &net.IPNet{IP: l.Host(2).IPv4.AsSlice(), Mask: net.CIDRMask(32, 32)}
		route := &netlink.Route{Dst: dst, Type: typ}
		require.NoError(t, l.Host(1).Do(func() error { return netlink.RouteAdd(route) }))
		return func() {
			require.NoError(t, l.Host(1).Do(func() error { return netlink.RouteDel(route) }))
		}
	}
}

// Datagrams that no honest socket sends.
func TestForgedSources(t *testing.T) {
	l := lab.ForTest(t, 1)
	h := l.Host(1)
	r, _ := inLab(t, l, Policy{Peers: labPeers})
	b := probe(t, stamp.ProbeOptions{}, 0)
	require.NoError(t, l.Fabric().Do(func() error {
		raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
		require.NoError(t, err)
		defer unix.Close(raw)
		require.NoError(t, unix.SetsockoptInt(raw, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		send := func(srcPort uint16, to netip.Addr) {
			p := binary.BigEndian.AppendUint16(nil, srcPort)
			p = binary.BigEndian.AppendUint16(p, stamp.Port)
			p = binary.BigEndian.AppendUint16(p, uint16(8+len(b)))
			p = append(binary.BigEndian.AppendUint16(p, 0), b...) // no checksum
			require.NoError(t, unix.Sendto(raw, p, 0, &unix.SockaddrInet4{Addr: to.As4()}))
		}
		send(0, h.IPv4)
		send(53, h.IPv4)
		send(stamp.Port, h.IPv4)
		send(8100, h.IPv4)
		send(20000, netip.MustParseAddr("10.77.1.255"))
		send(20000, h.IPv4)
		return nil
	}))
	require.NoError(t, l.Fabric().Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		port, err := net.InterfaceByName(l.Fabric().Port(h))
		require.NoError(t, err)
		allNodes := netip.MustParseAddr("ff02::1").As16()
		require.NoError(t, unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Port: stamp.Port, Addr: allNodes, ZoneId: uint32(port.Index)}))
		return nil
	}))
	want := ends(map[Reason]uint64{PortLow: 2, PortReflector: 2, NotUnicast: 2, Replied: 1})
	want.PeerSessions = 1
	want.ICMPErrors = 1 // nothing listens where the answered one came from
	eventually(t, r, want)
}

// A neighbour that is asked on its link-local address answers by the same link.
func TestLinkLocal(t *testing.T) {
	l := lab.ForTest(t, 1)
	h := l.Host(1)
	local := netip.MustParseAddr("fe80::1:862")
	require.NoError(t, h.Do(func() error { return addAddr("eth0", local) }))
	far := netip.MustParseAddr("fe80::1:1")
	require.NoError(t, l.Fabric().Do(func() error { return addAddr(l.Fabric().Port(h), far) }))
	r, _ := inLab(t, l, Policy{Peers: prefixes("fe80::/10")})
	var c *client
	require.NoError(t, l.Fabric().Do(func() error {
		zone := l.Fabric().Port(h)
		c = dial(t, anyPort(far.WithZone(zone)))
		b := probe(t, stamp.ProbeOptions{}, 0)
		for i := range uint32(2) {
			c.send(netip.AddrPortFrom(local.WithZone(zone), stamp.Port), b, 0, 255)
			got, from, _ := c.recv()
			require.Equal(t, netip.AddrPortFrom(local, stamp.Port), from)
			require.Equal(t, i, stampSeq(t, got))
		}
		return nil
	}))
	want := ends(map[Reason]uint64{Replied: 2})
	want.PeerSessions = 1
	eventually(t, r, want)
}

func addAddr(link string, a netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.AddrReplace(l, &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD, Scope: unix.RT_SCOPE_LINK,
	})
}
