//go:build linux

package loader

import (
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// host is a network namespace of the test's own, and a bpffs that nobody else sees. Both go with the test's thread,
// whatever becomes of the test.
type host struct {
	t    *testing.T
	pin  pinFolder
	peer netns.NsHandle // another namespace: the far ends of the host's veths
}

// newHost moves the test into a host. Goroutines that it starts are outside.
func newHost(t *testing.T) *host {
	t.Helper()
	lab.Require(t, lab.Root)
	require.NoError(t, rlimit.RemoveMemlock())
	runtime.LockOSThread() // and never unlock: the thread ends with the test
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS))
	require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	dir := t.TempDir()
	require.NoError(t, unix.Mount("bpf", dir, "bpf", 0, "mode=0700"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	h := &host{t: t, pin: pinFolder(dir + "/llama")}
	own, err := netns.GetFromPath("/proc/thread-self/ns/net")
	require.NoError(t, err)
	t.Cleanup(func() { _ = own.Close() })
	h.peer, err = netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.peer.Close() })
	require.NoError(t, netns.Set(own))
	return h
}

// at runs fn in the peer's namespace.
func (h *host) at(fn func()) {
	own, err := netns.GetFromPath("/proc/thread-self/ns/net")
	require.NoError(h.t, err)
	defer func() {
		require.NoError(h.t, netns.Set(own))
		_ = own.Close()
	}()
	require.NoError(h.t, netns.Set(h.peer))
	fn()
}

// veth makes an interface whose other end, of the same name, is at the peer. Both are up.
func (h *host) veth(name string, mtu int) Interface {
	h.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerMTU, v.PeerNamespace = name, uint32(mtu), netlink.NsFd(int(h.peer))
	return h.add(v, func() { h.at(func() { h.up(name) }) })
}

// add makes an interface of any kind and sets it up.
func (h *host) add(l netlink.Link, after ...func()) Interface {
	h.t.Helper()
	require.NoError(h.t, netlink.LinkAdd(l))
	for _, fn := range after {
		fn()
	}
	h.up(l.Attrs().Name)
	ifc, err := interfaceByName(l.Attrs().Name)
	require.NoError(h.t, err)
	return ifc
}

func (h *host) up(name string) {
	h.t.Helper()
	require.NoError(h.t, netlink.LinkSetUp(h.link(name)))
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(h.t, err)
	return l
}

// send sends frames of a type that nobody else uses from the peer's end of a veth.
func (h *host) send(ifc Interface, n int) {
	h.t.Helper()
	h.eventually(func() bool {
		now, err := interfaceByName(ifc.Name)
		return err == nil && now.Carrier
	}, "carrier of "+ifc.Name)
	h.at(func() {
		far := h.link(ifc.Name)
		// Until the kernel has given it a queue, up to a second after its carrier, it drops what is sent, without a word.
		h.eventually(func() bool {
			far = h.link(ifc.Name)
			return far.Attrs().OperState == netlink.OperUp
		}, "the far end of "+ifc.Name)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		require.NoError(h.t, err)
		defer unix.Close(fd)
		frame := make([]byte, 60)
		copy(frame, ifc.MAC)
		copy(frame[6:], far.Attrs().HardwareAddr)
		binary.BigEndian.PutUint16(frame[12:], testEtherType)
		for range n {
			require.NoError(h.t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: far.Attrs().Index, Halen: 6}))
		}
	})
}

// eventually polls: what the kernel does in a work queue is there a little later.
func (h *host) eventually(done func() bool, what string) {
	h.t.Helper()
	for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not after 5 s", what)
		}
	}
}

const testEtherType = 0x88b5

// counted is a program that counts the frames of testEtherType and returns its verdict for them.
type counted struct {
	*ebpf.Program
	t *testing.T
	m *ebpf.Map
}

// Verdicts.
const (
	xdpDrop  = 1
	xdpTX    = 3
	tcUnspec = -1
	tcShot   = 2
)

func (h *host) xdp(name string, verdict int32) *counted { return h.program(name, ebpf.XDP, verdict, 0) }

func (h *host) xdpFrags(name string, verdict int32) *counted {
	return h.program(name, ebpf.XDP, verdict, unix.BPF_F_XDP_HAS_FRAGS)
}

func (h *host) tc(name string, verdict int32) *counted {
	return h.program(name, ebpf.SchedCLS, verdict, 0)
}

func (h *host) program(name string, typ ebpf.ProgramType, verdict int32, flags uint32) *counted {
	h.t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "t_count", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = m.Close() })
	return h.programOn(m, name, typ, verdict, flags)
}

func (h *host) programOn(m *ebpf.Map, name string, typ ebpf.ProgramType, verdict int32, flags uint32) *counted {
	h.t.Helper()
	spec := &ebpf.ProgramSpec{Name: name, Type: typ, License: "Apache-2.0", Flags: flags}
	spec.Instructions = countTC(m, verdict)
	if typ == ebpf.XDP {
		spec.Instructions, spec.AttachType = countXDP(m, verdict), ebpf.AttachXDP
	}
	p, err := ebpf.NewProgram(spec)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = p.Close() })
	return &counted{p, h.t, m}
}

func (c *counted) count() uint64 {
	c.t.Helper()
	var n uint64
	require.NoError(c.t, c.m.Lookup(uint32(0), &n))
	return n
}

// wireType is testEtherType as a load from the wire gives it.
func wireType() int32 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], testEtherType)
	return int32(binary.NativeEndian.Uint16(b[:]))
}

func countXDP(m *ebpf.Map, verdict int32) asm.Instructions {
	return append(asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R5, wireType(), "pass"),
	}, countAndReturn(m, verdict, xdpPass)...)
}

func countTC(m *ebpf.Map, verdict int32) asm.Instructions {
	return append(asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // protocol
		asm.JNE.Imm(asm.R2, wireType(), "pass"),
	}, countAndReturn(m, verdict, tcUnspec)...)
}

func countAndReturn(m *ebpf.Map, verdict, pass int32) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, verdict),
		asm.Return(),
		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
		asm.Return(),
	}
}

// programs are a set for every step, each with a counter.
type programs struct{ native, generic, tc *counted }

func (h *host) programs() programs {
	return programs{h.xdp("llama_xdp", xdpDrop), h.xdp("llama_xdp_skb", xdpDrop), h.tc("llama_tc", tcShot)}
}

func (p programs) set() Programs {
	return Programs{XDP: p.native.Program, XDPGeneric: p.generic.Program, TC: p.tc.Program}
}

func (p programs) counts() [3]uint64 {
	return [3]uint64{p.native.count(), p.tc.count(), p.generic.count()}
}

// tcFlavor is what the TC step is made of on this kernel.
func (h *host) tcFlavor() string {
	_, err := tcxIngress(h.loopback().Index)
	if err != nil {
		return "clsact"
	}
	return "tcx"
}

func (h *host) loopback() Interface {
	lo, err := loopback()
	require.NoError(h.t, err)
	return lo
}

// demanded are the kinds of interfaces that must be there to be tested: where a kernel is known to have them, as
// in a VM, its test says so. Elsewhere what a kernel does not have is left out.
func demanded(kind string) bool {
	return slices.Contains(strings.Split(os.Getenv("LLAMA_TEST_KINDS"), ","), kind)
}

// has says whether the kernel can make an interface of the kind.
func (h *host) has(l netlink.Link) bool {
	h.t.Helper()
	err := netlink.LinkAdd(l)
	if err == nil {
		require.NoError(h.t, netlink.LinkDel(l))
		return true
	}
	if demanded(l.Type()) {
		h.t.Fatalf("LLAMA_TEST_KINDS names %s, and the kernel says: %v", l.Type(), err)
	}
	h.t.Logf("left out: this kernel makes no %s: %v", l.Type(), err)
	return false
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	a.HardwareAddr = net.HardwareAddr{2, 0x4c, 0, 0, byte(len(name)), name[len(name)-1]}
	return a
}
