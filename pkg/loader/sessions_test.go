//go:build linux

package loader

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// newSmallRig is a rig whose maps are of other sizes.
func newSmallRig(t testing.TB, sizes map[string]uint32) *rig {
	t.Helper()
	return newRigOf(t, func(spec *ebpf.CollectionSpec) {
		for name, n := range sizes {
			spec.Maps[name].MaxEntries = n
		}
	})
}

func TestSessionCounters(t *testing.T) {
	r := newRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		a, b := request(v6), request(v6)
		b.payload[15]++ // another SSID
		for n := uint32(1); n <= 5; n++ {
			r.answered(kind, a, arrival{rx: n, tx: n})
		}
		r.answered(kind, b, first)
		b.sport++
		r.answered(kind, b, first)
		b.dport = 8620
		r.answered(kind, b, first)
		r.answered(kind, a, arrival{rx: 6, tx: 6})
		s, ok := r.session(a)
		require.True(t, ok)
		require.InDelta(t, monotonic(), s.SeenNs, 1e9)
	})
}

// The refused count as received, and the number of the next reply has no gap.
func TestSessionRate(t *testing.T) {
	r := newRig(t)
	r.slow()
	for _, c := range []struct {
		name, reason string
		src          netip.Addr
	}{{"peer", "rate_peer", peer4}, {"stranger", "rate_stranger", guest4}} {
		t.Run(c.name, func(t *testing.T) {
			eachKind(t, r, func(t *testing.T, r *rig, kind int) {
				req := request(false)
				req.src = c.src
				const burst = 32
				for n := uint32(1); n <= burst; n++ {
					r.answered(kind, req, arrival{rx: n, tx: n})
				}
				r.must(kind, req.bytes(), c.reason)
				r.must(kind, req.bytes(), c.reason)
				other := *req
				other.sport++ // the rate is the source's, whatever its sessions
				r.must(kind, other.bytes(), c.reason)
				s, ok := r.session(req)
				require.True(t, ok)
				require.Equal(t, []uint32{burst + 2, burst}, []uint32{s.Rx, s.Tx})
				s, ok = r.session(&other)
				require.True(t, ok)
				require.Equal(t, []uint32{1, 0}, []uint32{s.Rx, s.Tx})
				another := *req
				another.src = c.src.Next()
				r.answered(kind, &another, first)

				// As if the time of one request had gone by.
				r.forwardRates(slowly)
				r.answered(kind, req, arrival{rx: burst + 3, tx: burst + 1})
			})
		})
	}
}

// slowly is so long that no test sees it go by, on no machine.
const slowly = time.Hour

// slow allows a source a burst of 32 requests, and then one in that time.
func (r *rig) slow() {
	r.t.Helper()
	require.NoError(r.t, r.updateConfig(func(c *bpfLlamaConfig) {
		c.PeerRate.IntervalNs, c.PeerRate.ToleranceNs = uint64(slowly), uint64(31*slowly)
		c.StrangerRate = c.PeerRate
	}))
}

// Bursts and intervals are those of the socket reflector.
func TestGCRA(t *testing.T) {
	for _, c := range []struct {
		rate                int
		interval, tolerance uint64
	}{
		{1, 1e9, 31e9}, {1000, 1e6, 99e6}, {100_000, 1e4, 9999e4}, {2e9, 1, 2e8 - 1},
	} {
		interval, tolerance := gcra(c.rate)
		require.Equal(t, []uint64{c.interval, c.tolerance}, []uint64{interval, tolerance}, c.rate)
	}
}

// forwardRates brings the time forward at which each source may send again.
func (r *rig) forwardRates(d time.Duration) {
	r.t.Helper()
	peers, err := entries[bpfLlamaAddr, bpfLlamaSource](r.LlamaSource)
	require.NoError(r.t, err)
	for k, v := range peers {
		v.TatNs -= min(v.TatNs, uint64(d))
		require.NoError(r.t, r.LlamaSource.Update(k, v, ebpf.UpdateExist))
	}
	guests, err := entries[bpfLlamaAddr, bpfLlamaGsource](r.LlamaGsource)
	require.NoError(r.t, err)
	for k, v := range guests {
		v.TatNs -= min(v.TatNs, uint64(d))
		require.NoError(r.t, r.LlamaGsource.Update(k, v, ebpf.UpdateExist))
	}
}

// A full table of peers, or a source with all the sessions it may have, is answered
// without a session: the sender's number, and Direct Measurement not understood.
func TestSessionStateless(t *testing.T) {
	r := newSmallRig(t, map[string]uint32{bpfMapLlamaPeer: 2})
	p := testPolicy()
	p.SessionsPerPeer = 1
	stateless := arrival{stateless: true}
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		require.NoError(t, r.setPolicy(testPolicy()))
		req := request(v6)
		r.answered(kind, req, first)
		req.sport++
		r.answered(kind, req, first)
		req.sport++
		r.answered(kind, req, stateless)
		r.answered(kind, req, stateless)
		req.sport = 20001
		r.answered(kind, req, arrival{rx: 2, tx: 2})

		r.reset()
		require.NoError(t, r.setPolicy(p))
		r.answered(kind, req, first)
		req.sport++
		r.answered(kind, req, stateless)
		req.src = req.src.Next()
		r.answered(kind, req, first)
	})
}

// All peers for which there is no source share the rate of one.
func TestSessionCrowd(t *testing.T) {
	r := newSmallRig(t, map[string]uint32{bpfMapLlamaSource: 2})
	r.slow()
	eachKind(t, r, func(t *testing.T, r *rig, kind int) {
		req := request(false)
		r.answered(kind, req, first)
		for n := range 32 {
			req.src = netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + n)})
			r.answered(kind, req, arrival{stateless: true})
		}
		r.must(kind, req.bytes(), "rate_peer")
		req.src = peer4
		r.answered(kind, req, arrival{rx: 2, tx: 2})

		require.NoError(t, r.LlamaSource.Delete(crowd)) // which user space has made and nobody removes
		require.NoError(t, r.LlamaSource.Update(bpfLlamaAddr{Octets: [16]byte{1}}, bpfLlamaSource{}, ebpf.UpdateNoExist))
		req.src = addr("10.0.0.99")
		r.must(kind, req.bytes(), "no_limiter")
	})
}

// A source that a new policy moves to the other class keeps its counters.
func TestSessionMoves(t *testing.T) {
	r := newRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		require.NoError(t, r.setPolicy(testPolicy()))
		req := request(v6)
		r.answered(kind, req, first)
		p := testPolicy()
		p.Peers = nil
		require.NoError(t, r.setPolicy(p))
		r.answered(kind, req, arrival{rx: 2, tx: 2})
		require.Equal(t, []int{0, 1}, []int{r.len(r.LlamaPeer), r.len(r.LlamaGuest)})
		require.NoError(t, r.setPolicy(testPolicy()))
		r.answered(kind, req, arrival{rx: 3, tx: 3})
		require.Equal(t, []int{1, 0}, []int{r.len(r.LlamaPeer), r.len(r.LlamaGuest)})
	})
}

func (r *rig) len(m *ebpf.Map) int {
	r.t.Helper()
	have, err := entries[bpfLlamaKey, bpfLlamaSession](m)
	require.NoError(r.t, err)
	return len(have)
}

// Sessions of link-local sources are those of their interface.
func TestSessionLinkLocal(t *testing.T) {
	r := newRig(t)
	eachKind(t, r, func(t *testing.T, r *rig, kind int) {
		req := request(true)
		req.src, req.dst = linked6, link6
		r.answered(kind, req, first)
		require.Equal(t, 1, r.len(r.LlamaGuest))
		_, ok := r.session(req)
		require.True(t, ok)
		k := bpfLlamaKey{Src: addr16(linked6)}
		have, err := entries[bpfLlamaKey, bpfLlamaSession](r.LlamaGuest)
		require.NoError(t, err)
		for k = range have {
			require.EqualValues(t, testIfindex, k.Ifindex)
		}
	})
}

// What a session remembers of its packets being for this host holds no longer than that.
func TestSessionRemembers(t *testing.T) {
	r := newRig(t)
	other := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	own := net.HardwareAddr(hostMAC[:])
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		req := request(v6)
		r.answered(kind, req, first)
		flooded := *req
		flooded.dstMAC = [6]byte(other)
		r.must(kind, flooded.bytes(), "other_mac")
		group := *req
		group.srcMAC[0] |= 1
		r.must(kind, group.bytes(), "source_mac")

		require.NoError(t, r.setInterface(testIfindex, []net.HardwareAddr{other}, false))
		r.must(kind, req.bytes(), "other_mac")
		require.NoError(t, r.setInterface(testIfindex, []net.HardwareAddr{own, other}, false))
		r.answered(kind, req, arrival{rx: 2, tx: 2})
		r.answered(kind, &flooded, arrival{rx: 3, tx: 3}) // which it is no more

		require.NoError(t, r.setLocal(nil))
		r.must(kind, req.bytes(), "other_address")
		require.NoError(t, r.setLocal([]netip.Addr{host4, host6, link6, req.src}))
		r.must(kind, req.bytes(), "source_ours")
		require.NoError(t, r.setLocal([]netip.Addr{host4, host6, link6}, cast4))
		r.answered(kind, req, arrival{rx: 4, tx: 4})

		require.NoError(t, r.removeInterface(testIfindex))
		r.must(kind, req.bytes(), "other_interface")
		require.NoError(t, r.setInterface(testIfindex, []net.HardwareAddr{own}, false))
		r.answered(kind, req, arrival{rx: 5, tx: 5})
	})
}

// What was let in at one interface is no proof at another, which has other addresses.
func TestSessionRemembersInterface(t *testing.T) {
	lab.Require(t, lab.Namespaces)
	r := newRig(t)
	runtime.LockOSThread() // and never unlocked: the thread is in another namespace
	ns, err := netns.New()
	require.NoError(t, err)
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "one"
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "two"
	require.NoError(t, netlink.LinkAdd(veth))
	indices := make(map[string]uint32)
	for name, mac := range map[string]net.HardwareAddr{"one": hostMAC[:], "two": {2, 0, 0, 0, 0, 7}} {
		l, err := netlink.LinkByName(name)
		require.NoError(t, err)
		indices[name] = uint32(l.Attrs().Index)
		require.NoError(t, r.setInterface(l.Attrs().Index, []net.HardwareAddr{mac}, false))
	}
	run := func(name string) uint32 {
		skb := make([]byte, 184) // struct __sk_buff
		const ifindex = 40
		binary.NativeEndian.PutUint32(skb[ifindex:], indices[name])
		ret, _ := r.runWith(progTC, request(false).bytes(), skb)
		return ret
	}
	tc := kinds[2]
	require.Equal(t, tc.reply, run("one"))
	require.Equal(t, tc.pass, run("two"))
	require.Equal(t, tc.reply, run("one"))
}

func TestAgeSessions(t *testing.T) {
	r := newRig(t)
	old, fresh, moved := request(false), request(false), request(true)
	fresh.sport++
	for _, p := range []*packet{old, fresh, moved} {
		r.answered(0, p, first)
	}
	require.NoError(t, r.ageSessions(monotonic()))
	require.Equal(t, 3, r.len(r.LlamaPeer))
	require.EqualValues(t, 2, r.source(peer4).Sessions)

	// The old one has been idle for more than a minute; the moved one is another class's.
	s, _ := r.session(old)
	s.SeenNs = uint64(monotonic() - int64(61*time.Second))
	k := bpfLlamaKey{Src: addr16(old.src), Dst: addr16(old.dst), Sport: be16(old.sport), Dport: be16(old.dport), Ssid: be16(0x0102)}
	require.NoError(t, r.LlamaPeer.Update(&k, &s, ebpf.UpdateExist))
	p := testPolicy()
	p.Peers = p.Peers[:1]
	require.NoError(t, r.setPolicy(p))
	r.answered(0, moved, arrival{rx: 2, tx: 2})

	require.NoError(t, r.ageSessions(monotonic()))
	require.Equal(t, 1, r.len(r.LlamaPeer))
	require.EqualValues(t, 1, r.source(peer4).Sessions)
	require.EqualValues(t, 0, r.source(peer6).Sessions)
	r.answered(0, fresh, arrival{rx: 2, tx: 2})
	r.answered(0, old, first)
	require.EqualValues(t, 2, r.source(peer4).Sessions)

	// A minute later all are gone, but the crowd's.
	require.NoError(t, r.ageSessions(monotonic()+int64(62*time.Second)))
	require.Equal(t, 0, r.len(r.LlamaPeer))
	sources, err := entries[bpfLlamaAddr, bpfLlamaSource](r.LlamaSource)
	require.NoError(t, err)
	require.Len(t, sources, 1)
	require.Contains(t, sources, crowd)
}

// More than one batch.
func TestAgeManySessions(t *testing.T) {
	r := newRig(t)
	p := testPolicy()
	p.PeerRate, p.SessionsPerPeer = 1e9, 1e6
	require.NoError(t, r.setPolicy(p))
	req := request(true)
	for n := range 10_000 {
		req.sport = uint16(10_000 + n)
		ret, _ := r.run(progXDP, req.bytes())
		require.Equal(t, kinds[0].reply, ret)
	}
	require.Equal(t, 10_000, r.len(r.LlamaPeer))
	require.NoError(t, r.ageSessions(monotonic()))
	require.EqualValues(t, 10_000, r.source(peer6).Sessions)
	require.NoError(t, r.ageSessions(monotonic()+int64(62*time.Second)))
	require.Equal(t, 0, r.len(r.LlamaPeer))
}

func (r *rig) source(a netip.Addr) (s bpfLlamaSource) {
	r.t.Helper()
	require.NoError(r.t, r.LlamaSource.Lookup(addr16(a), &s))
	return s
}
