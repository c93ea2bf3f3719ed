//go:build linux

package loader

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// bpffs mounts one for the test.
func bpffs(t *testing.T) string {
	t.Helper()
	lab.Require(t, lab.Root)
	dir := t.TempDir()
	require.NoError(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

func mustLoad(t *testing.T, pin string) *object {
	t.Helper()
	o, err := load(pin, ModeAuto, ProbeOptions{}, quiet())
	require.NoError(t, err)
	t.Cleanup(func() {
		if o != nil {
			require.NoError(t, o.Close())
		}
	})
	return o
}

// What an agent before has left is taken over, whole.
func TestLoadAdopts(t *testing.T) {
	pin := filepath.Join(bpffs(t), "llama")
	a := mustLoad(t, pin)
	r := &rig{object: a, t: t}
	require.NoError(t, a.setPolicy(testPolicy()))
	require.NoError(t, a.setInterface(testIfindex, []net.HardwareAddr{hostMAC[:]}, false))
	r.setClock(ClockState{Estimate: estimate})
	r.arm()
	require.NoError(t, a.setLocal(testLocal, cast4))
	r.answered(0, request(false), first)

	names, err := os.ReadDir(pin)
	require.NoError(t, err)
	require.Len(t, names, 18)

	b := mustLoad(t, pin)
	s := &rig{object: b, t: t, offset: r.offset}
	s.answered(0, request(false), arrival{rx: 2, tx: 2})
	r.answered(0, request(false), arrival{rx: 3, tx: 3}) // the old program goes on meanwhile
	require.NoError(t, b.setInterface(testIfindex, []net.HardwareAddr{peerMAC[:]}, false))
	s.must(0, request(false).bytes(), "other_mac")
	require.NoError(t, b.setLease(0))
	s.must(0, request(false).bytes(), "disarmed")
	c, err := b.interfaceCounters(testIfindex)
	require.NoError(t, err)
	require.Equal(t, InterfaceCounters{Seen: 4, Answered: 3, PassedUp: 1}, c)
}

// Maps of another shape are those of another version: unpinned, and made anew.
func TestLoadReplacesOtherShapes(t *testing.T) {
	for name, change := range map[string]func(*ebpf.MapSpec){
		"size":   func(m *ebpf.MapSpec) { m.MaxEntries /= 2 },
		"type":   func(m *ebpf.MapSpec) { m.Type = ebpf.LRUHash },
		"value":  func(m *ebpf.MapSpec) { m.Value, m.ValueSize = nil, m.ValueSize+8 },
		"fields": swapFields,
	} {
		t.Run(name, func(t *testing.T) {
			pin := filepath.Join(bpffs(t), "llama")
			spec := newSpec(t)
			old := spec.Maps[bpfMapLlamaPeer].Copy()
			change(old)
			require.NoError(t, os.Mkdir(pin, 0o700))
			m, err := ebpf.NewMapWithOptions(old, ebpf.MapOptions{PinPath: pin})
			require.NoError(t, err)
			was, err := m.Info()
			require.NoError(t, err)
			require.NoError(t, m.Close())

			o := mustLoad(t, pin)
			require.NoError(t, spec.Maps[bpfMapLlamaPeer].Compatible(o.LlamaPeer))
			is, err := o.LlamaPeer.Info()
			require.NoError(t, err)
			wasID, _ := was.ID()
			isID, _ := is.ID()
			require.NotEqual(t, wasID, isID)
			_, err = ebpf.NewMapFromID(wasID)
			require.ErrorIs(t, err, os.ErrNotExist, "the old map has leaked")
		})
	}
}

// A mode that names a step has the kernel verify only what it attaches, and nothing else can be.
func TestNamedModeLoadsItsProgram(t *testing.T) {
	whole, err := loaded()
	requireVerified(t, err)
	pin := filepath.Join(bpffs(t), "llama")
	for s, k := range kindAt {
		o, err := load(pin, Mode(s), ProbeOptions{}, quiet())
		require.NoError(t, err)
		for other := range kindAt {
			p := o.programs(Mode(s)).at(other)
			require.Equal(t, other == s, p != nil, "%s at %s", s, other)
		}
		for other := range programKinds {
			err := sameProgram(whole.program(other), o.program(other))
			require.Equal(t, other == k, err == nil, "%s: %v", other.name(), err)
		}
		require.NoError(t, o.Close())
	}
}

// Something else lies where a map is to be pinned.
func TestLoadForeignPin(t *testing.T) {
	pin := bpffs(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	require.NoError(t, err)
	require.NoError(t, m.Pin(filepath.Join(pin, bpfMapLlamaLocal)))
	require.NoError(t, m.Close())
	mustLoad(t, pin)
}

func TestLoadNotBPFFS(t *testing.T) {
	lab.Require(t, lab.Root)
	dir := t.TempDir()
	for _, pin := range []string{dir, filepath.Join(dir, "llama")} {
		_, err := load(pin, ModeAuto, ProbeOptions{}, quiet())
		require.ErrorIs(t, err, ErrPinFolder)
		require.ErrorContains(t, err, "mount -t bpf bpf /sys/fs/bpf")
	}
	require.NoDirExists(t, filepath.Join(dir, "llama"))
	_, err := load(filepath.Join(dir, "not", "there"), ModeAuto, ProbeOptions{}, quiet())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Root without capabilities, and with all that are needed but one.
func TestLoadWithoutCapabilities(t *testing.T) {
	pin := bpffs(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	require.NoError(t, unix.Capget(&hdr, &caps[0]))
	const most = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_BPF | 1<<unix.CAP_SYS_RESOURCE // and not CAP_PERFMON
	for _, keep := range []uint64{0, most} {
		less := caps
		less[0].Effective &= uint32(keep)
		less[1].Effective &= uint32(keep >> 32)
		require.NoError(t, unix.Capset(&hdr, &less[0]))
		_, err := load(filepath.Join(pin, "llama"), ModeAuto, ProbeOptions{}, quiet())
		require.NoError(t, unix.Capset(&hdr, &caps[0]))
		require.ErrorIs(t, err, ErrPermission)
		require.ErrorContains(t, err, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
		t.Log(err)
	}
}

func TestExplain(t *testing.T) {
	require.ErrorIs(t, explain(ebpf.ErrNotSupported), ErrNotSupported)
	require.ErrorIs(t, explain(unix.ENOSYS), ErrNotSupported)
	require.ErrorIs(t, explain(unix.EPERM), ErrPermission)
	lab.Require(t, lab.Root)
	refused := &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"one", "two", "three"}}
	require.NotErrorIs(t, explain(refused), ErrPermission)
	other := errors.New("other")
	require.Equal(t, other, explain(other))
}

func TestProve(t *testing.T) {
	pin := filepath.Join(bpffs(t), "llama")
	o := mustLoad(t, pin)
	for _, k := range kinds {
		require.NoError(t, o.prove(k.kind), k.name)
	}
	c, err := o.counters()
	require.NoError(t, err)
	require.Empty(t, c, "the loaded program's own maps were touched")
}

// One octet wrong anywhere is found.
func TestProveFindsAnyFault(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.proveReply(progXDP))
	r.reset()
	request := proofRequest()
	_, reply := r.run(progXDP, request)
	e := estimateOf(reply)
	require.NoError(t, compareProof(request, reply, e))
	for i := range reply {
		if i >= proofAt+12 && i < proofAt+14 {
			continue // the estimate, which was taken from there
		}
		bad := append([]byte{}, reply...)
		bad[i] ^= 0x41
		require.ErrorIs(t, compareProof(request, bad, e), ErrWrongReply, "octet %d", i)
	}
	require.ErrorIs(t, compareProof(request, request, e), ErrWrongReply)
	require.ErrorIs(t, compareProof(request, reply[:len(reply)-1], e), ErrWrongReply)
}

func TestInterfaceErrors(t *testing.T) {
	r := newRig(t)
	require.ErrorContains(t, r.setInterface(2, make([]net.HardwareAddr, 5), false), "5 hardware addresses, at most 4")
	require.ErrorContains(t, r.setInterface(2, []net.HardwareAddr{{1, 2, 3}}, false), "not of Ethernet")
	require.ErrorContains(t, r.setInterface(2, []net.HardwareAddr{make(net.HardwareAddr, 20)}, false), "not of Ethernet")
	_, err := r.interfaceCounters(2)
	require.ErrorIs(t, err, ebpf.ErrKeyNotExist)
	require.NoError(t, r.removeInterface(2))
	for i := range 255 {
		require.NoError(t, r.setInterface(100+i, []net.HardwareAddr{hostMAC[:]}, false))
	}
	require.ErrorContains(t, r.setInterface(99, []net.HardwareAddr{hostMAC[:]}, false), "there are 256 interfaces already")
	require.NoError(t, r.removeInterface(100))
	require.NoError(t, r.setInterface(99, []net.HardwareAddr{hostMAC[:]}, false))
}

// swapFields has the fields rx and tx in another order, and nothing else changed.
func swapFields(m *ebpf.MapSpec) {
	v := btf.Copy(m.Value).(*btf.Struct)
	v.Members[1].Name, v.Members[2].Name = v.Members[2].Name, v.Members[1].Name
	m.Value = v
}

func estimateOf(reply []byte) stamp.ErrorEstimate {
	return stamp.ErrorEstimate(be.Uint16(reply[proofAt+12:]))
}
