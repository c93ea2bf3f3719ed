//go:build linux

package loader

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// wire is a prober and a host in namespaces of their own, joined by a veth pair, the
// program attached at the host's end. Nobody listens at the host: what is answered, the
// program has answered.
type wire struct {
	*rig
	prober netns.NsHandle
	local  netlink.Link // the prober's end
}

// newWire must be called on a thread that is not used again.
func newWire(t *testing.T, kind programKind) *wire {
	t.Helper()
	lab.Require(t, lab.Namespaces)
	r := newRig(t)
	space := func() netns.NsHandle {
		ns, err := netns.New()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, ns.Close()) })
		return ns
	}
	host, prober := space(), space() // the thread stays in the prober's
	mtu := wireMTU(t, kind)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = "wire0", mtu, peerMAC[:]
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerHardwareAddr = "wire1", uint32(mtu), hostMAC[:]
	veth.PeerNamespace = netlink.NsFd(int(host))
	require.NoError(t, netlink.LinkAdd(veth))
	// Not only with its namespace, later: until then it may have packets for the program, which other tests use too.
	t.Cleanup(func() { require.NoError(t, netlink.LinkDel(veth)) })
	up(t, "wire0", peer4, peer6)
	w := &wire{rig: r, prober: prober}
	var err error
	w.local, err = netlink.LinkByName("wire0")
	require.NoError(t, err)

	require.NoError(t, netns.Set(host))
	up(t, "wire1", host4, host6)
	remote, err := netlink.LinkByName("wire1")
	require.NoError(t, err)
	require.NoError(t, r.setInterface(remote.Attrs().Index, []net.HardwareAddr{hostMAC[:]}, false))
	attachOnWire(t, kind, r.program(kind), remote.Attrs().Index)
	require.NoError(t, netns.Set(prober))
	if kind == progXDP { // what a veth transmits natively is taken by a native program only
		attachOnWire(t, kind, like(t, asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}), w.local.Attrs().Index)
	}
	return w
}

// wireMTU is 9000, or where the kernel has no XDP over fragments (before 5.18) what a
// veth takes a native program with.
func wireMTU(t *testing.T, kind programKind) int {
	t.Helper()
	frags, err := haveFrags()
	require.NoError(t, err)
	if kind == progXDP && !frags {
		return driverOf(Interface{Kind: "veth"}).mtu
	}
	return 9000
}

func up(t *testing.T, name string, addrs ...netip.Addr) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	for _, a := range addrs {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		require.NoError(t, netlink.AddrAdd(l, &netlink.Addr{
			IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Flags: unix.IFA_F_NODAD,
		}))
	}
	require.NoError(t, netlink.LinkSetUp(l))
}

func attachOnWire(t *testing.T, kind programKind, p *ebpf.Program, ifindex int) {
	t.Helper()
	if kind == progTC {
		h, err := attachTC(Interface{Index: ifindex}, p, "", false)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, h.leave()) }) // a filter of clsact goes with its device
		return
	}
	flags := link.XDPDriverMode
	if kind == progXDPGeneric {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: ifindex, Flags: flags})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
}

// onWire runs the test for each program, on a thread of its own that ends with it.
func onWire(t *testing.T, test func(t *testing.T, w *wire, kind int)) {
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			runtime.LockOSThread() // and never unlocked: the thread is in another namespace
			test(t, newWire(t, k.kind), i)
		})
	}
}

// offload switches the prober's checksum offload.
func (w *wire) offload(on bool) {
	w.t.Helper()
	value := struct{ cmd, data uint32 }{unix.ETHTOOL_STXCSUM, uint32(flag(on))}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(w.t, err)
	defer unix.Close(fd)
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		pad  [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:], w.local.Attrs().Name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	require.Zero(w.t, errno)
}

// ask sends the payload from a socket and returns what came back, nil if nothing did.
func (w *wire) ask(from, to netip.Addr, payload []byte) []byte {
	w.t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: from.AsSlice(), Port: 20001}, &net.UDPAddr{IP: to.AsSlice(), Port: testPort})
	require.NoError(w.t, err)
	defer c.Close()
	_, err = c.Write(payload)
	require.NoError(w.t, err)
	require.NoError(w.t, c.SetReadDeadline(time.Now().Add(2*time.Second)))
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// badSums is how many datagrams the prober's kernel has dropped for their checksum.
func (w *wire) badSums() (lines []string) {
	w.t.Helper()
	for _, file := range []string{"snmp", "snmp6"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + file)
		require.NoError(w.t, err)
		rows := strings.Split(string(b), "\n")
		for i, row := range rows {
			f := strings.Fields(row)
			switch {
			case len(f) == 2 && f[0] == "Udp6InCsumErrors":
				lines = append(lines, f[1])
			case len(f) > 2 && f[0] == "Udp:" && slices.Contains(f, "InCsumErrors"):
				lines = append(lines, strings.Fields(rows[i+1])[slices.Index(f, "InCsumErrors")])
			}
		}
	}
	return lines
}

// Replies are whole on a real device, whether its sender leaves checksums to it or not.
func TestWireChecksums(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire, kind int) {
		n := uint32(0)
		for _, offload := range []bool{true, false} {
			w.offload(offload)
			for range 20 {
				n++
				for _, v6 := range []bool{false, true} {
					req := request(v6)
					req.tos, req.ttl = 0, 64 // what a socket sends
					got := w.ask(req.src, req.dst, req.payload)
					require.Len(t, got, len(req.payload), "offload %v, IPv6 %v: %v", offload, v6, w.ends())
					want := w.reply(req, arrival{rx: n, tx: n}, 0, 0)[14+req.headerLen()+8:]
					for _, b := range [][]byte{got, want} { // but T2 and T3
						clear(b[4:12])
						clear(b[16:24])
					}
					require.Equal(t, hexdump(want), hexdump(got))
				}
			}
		}
		require.Equal(t, []string{"0", "0"}, w.badSums())
	})
}

func (w *wire) ends() Counters {
	c, err := w.counters()
	require.NoError(w.t, err)
	return c
}

// A probe as large as the wire takes is answered, whether its checksum was left to the
// device or not.
func TestWireJumbo(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire, kind int) {
		for _, offload := range []bool{false, true} {
			w.offload(offload)
			for _, v6 := range []bool{false, true} {
				size := w.local.Attrs().MTU - 100
				req := jumbo(v6, size)
				require.Len(t, w.ask(req.src, req.dst, req.payload), size, w.ends())
			}
		}
		require.Equal(t, []string{"0", "0"}, w.badSums())
	})
}

// Frames of every length and with tags, as no socket sends them. In TC the outer tag
// is not in the frame any more: the reply must have it all the same.
func TestWireFrames(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire, kind int) {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(be16(unix.ETH_P_ALL)))
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: be16(unix.ETH_P_ALL), Ifindex: w.local.Attrs().Index}))
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))

		sent, whole := 0, 0
		for _, v6 := range []bool{false, true} {
			for n := 14; n <= 128; n++ {
				req := request(v6)
				req.sport = uint16(30000 + n)
				req.trailer = make([]byte, 20)
				f := req.bytes()[:min(n, len(req.bytes()))]
				if _, err := unix.Write(fd, f); err != nil {
					require.ErrorIs(t, err, unix.EINVAL) // too short for the device
					continue
				}
				sent++
				if p, ok := decode(f); ok && answerable(p) {
					whole++
				}
			}
		}
		require.Eventually(t, func() bool {
			return w.ends()[Ending{"replied", "reply"}] == uint64(whole)
		}, 3*time.Second, 10*time.Millisecond, "%d of %d are whole: %v", whole, sent, w.ends())

		for _, vlans := range [][]uint16{{0x8100}, {0x88a8, 0x8100}} {
			req := request(false)
			req.vlans, req.sport = vlans, uint16(25000+len(vlans))
			_, err = unix.Write(fd, req.bytes())
			require.NoError(t, err)
			got := w.tagged(fd, req.sport)
			a, err := w.readReply(req, got)
			require.NoError(t, err, w.ends())
			require.Equal(t, hexdump(a), hexdump(got))
		}
	})
}

// Drivers leave all but the headers of a frame in pages, or all of it: here only the
// Ethernet header is linear.
func TestWirePaged(t *testing.T) {
	onWire(t, func(t *testing.T, w *wire, kind int) {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(be16(unix.ETH_P_ALL)))
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: be16(unix.ETH_P_ALL), Ifindex: w.local.Attrs().Index}))
		const virtioHeader = 10 // all zeroes: nothing offloaded, no header length
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
		for n, v6 := range []bool{false, true} {
			req := jumbo(v6, w.local.Attrs().MTU*2/3)
			_, err := unix.Write(fd, append(make([]byte, virtioHeader), req.bytes()...))
			require.NoError(t, err)
			if !assert.Eventually(t, func() bool {
				return w.ends()[Ending{"replied", "reply"}] == uint64(n+1)
			}, 10*time.Second, 5*time.Millisecond) {
				t.Fatal(w.ends())
			}
		}
	})
}

// readReply is what the reply to req should be, by its own T2 and T3.
func (w *wire) readReply(req *packet, got []byte) ([]byte, error) {
	at := 14 + 4*len(req.vlans) + req.headerLen() + 8
	if len(got) < at+44 {
		return nil, fmt.Errorf("no reply, but %x", got)
	}
	return w.reply(req, first, stampAt(got[at+16:]), stampAt(got[at+4:])), nil
}

// tagged receives the frame that comes to the UDP port, and puts back the tag that the
// kernel has taken out.
func (w *wire) tagged(fd int, port uint16) []byte {
	w.t.Helper()
	until := time.Now().Add(2 * time.Second)
	b, oob := make([]byte, 2048), make([]byte, 128)
	for time.Now().Before(until) {
		n, oobn, _, from, err := unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		f := bytes.Clone(b[:n])
		cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		require.NoError(w.t, err)
		for _, c := range cmsgs {
			if c.Header.Type != unix.PACKET_AUXDATA {
				continue
			}
			aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&c.Data[0]))
			if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
				tag := be.AppendUint16(be.AppendUint16(nil, aux.Vlan_tpid), aux.Vlan_tci)
				f = slices.Insert(f, 12, tag...)
			}
		}
		if p, ok := decode(f); ok && p.dport == port {
			return f
		}
	}
	return nil
}
