//go:build linux

package loader

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

const probePort = 20001

// probing is a rig that measures: the flow to peer4 (or peer6), with room for four
// probes.
type probing struct {
	*rig
	probes *Probes
	row    uint32
	req    *packet // the probe, and
	reply  *packet // its reply
}

func newProbing(t testing.TB, v6 bool) *probing {
	return newProbingOf(t, v6, func(*ebpf.CollectionSpec) {})
}

func newProbingOf(t testing.TB, v6 bool, change func(*ebpf.CollectionSpec)) *probing {
	r := newRigOf(t, change)
	probes, err := newProbes(r.object)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, probes.close()) })
	require.NoError(t, r.setProbePorts(20000, 20999))
	r.toProbes = true
	p := &probing{rig: r, probes: probes}
	// What would be the request of a peer is the probe that this host sends to it.
	p.req = request(v6)
	p.req.src, p.req.dst, p.req.sport, p.req.dport = p.req.dst, p.req.src, probePort, 862
	p.row, err = probes.AddFlow(netip.AddrPortFrom(p.req.dst, 862), probePort, 0x0102, 3)
	require.NoError(t, err)
	p.reply = request(v6)
	p.reply.sport, p.reply.dport = 862, probePort
	p.reply.payload = slices.Clone(p.req.payload)
	res, err := stamp.Reflect(p.reply.payload, &stamp.Arrival{Receive: 1 << 32, ErrorEstimate: estimate, TTL: 250, Rx: 3, Tx: 3, AllowDSCP: stamp.AllDSCP}, nil)
	require.NoError(t, err)
	res.Finish(p.reply.payload, 2<<32, nil)
	return p
}

// sent notes the probe in its slot, as the program at egress does.
func (p *probing) sent(t1 int64) {
	p.t.Helper()
	seq := be.Uint32(p.req.payload)
	s := bpfLlamaSlot{T1Ns: uint64(t1), Seq: seq, State: 1}
	for i := range s.T1Wire {
		s.T1Wire[i] = binary.NativeEndian.Uint32(p.req.payload[4+4*i:])
	}
	require.NoError(p.t, p.LlamaSlot.Update(p.probes.rows[p.row].first+seq%4, &s, ebpf.UpdateAny))
}

func (p *probing) read() (got []probe.Captured) {
	require.True(p.t, p.probes.Read(func(c *probe.Captured) {
		one := *c
		one.Reply = slices.Clone(c.Reply)
		got = append(got, one)
	}))
	return got
}

func TestCapture(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		p := newProbing(t, v6)
		for kind := range kinds {
			wire := be.Uint64(p.req.payload[4:])
			seq := be.Uint32(p.req.payload)
			require.Equal(t, probe.FateNotSeen, p.probes.Fate(p.row, seq, wire))
			p.must(kind, p.reply.bytes(), "not_in_flight")
			p.sent(4711)
			require.Equal(t, probe.FateSent, p.probes.Fate(p.row, seq, wire))
			require.Equal(t, probe.FateNotSeen, p.probes.Fate(p.row, seq, wire+1))
			require.Equal(t, probe.FateNotSeen, p.probes.Fate(p.row, seq+4, wire))

			from := monotonic()
			p.must(kind, p.reply.bytes(), "captured")
			p.must(kind, p.reply.bytes(), "captured") // the duplicate is for user space to count
			got := p.read()
			require.Len(t, got, 2)
			for _, c := range got {
				require.GreaterOrEqual(t, c.T4, from)
				require.LessOrEqual(t, c.T4, monotonic())
				require.Equal(t, probe.Captured{Row: p.row, T1: 4711, T4: c.T4, TTL: 61, TOS: 46<<2 | 1, Reply: p.reply.payload}, c)
			}
			require.Empty(t, p.read())
			require.NoError(t, p.LlamaSlot.Update(p.probes.rows[p.row].first+seq%4, &bpfLlamaSlot{}, ebpf.UpdateAny))
		}
	}
}

// What is not believed passes, and the socket that sent tells why.
func TestCaptureNotBelieved(t *testing.T) {
	p := newProbing(t, false)
	p.sent(1)
	for _, c := range []struct {
		name, reason string
		bend         func(*packet)
	}{
		{"other-seq", "not_in_flight", func(r *packet) { r.payload[27]++ }},
		{"seq-of-slot", "not_in_flight", func(r *packet) { r.payload[27] += 4 }},
		{"other-t1", "not_in_flight", func(r *packet) { r.payload[35]++ }},
		{"other-address", "no_flow", func(r *packet) { r.src = guest4 }},
		{"other-port", "no_flow", func(r *packet) { r.sport++ }},
		{"to-other-port", "no_flow", func(r *packet) { r.dport++ }},
		{"other-ssid", "no_flow", func(r *packet) { r.payload[15]++ }},
		{"to-port-below", "other_port", func(r *packet) { r.dport = 19999 }},
		{"to-port-above", "other_port", func(r *packet) { r.dport = 21000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind := range kinds {
				r := *p.reply
				r.payload = slices.Clone(r.payload)
				c.bend(&r)
				p.must(kind, r.bytes(), c.reason)
			}
		})
	}
	for kind := range kinds {
		f := p.reply.bytes()
		f[len(f)-1] ^= 1
		p.must(kind, f, "udp_checksum")
		base := *p.reply
		base.payload = base.payload[:44]
		p.must(kind, base.bytes(), "captured")
	}
	for _, c := range p.read() {
		require.Len(t, c.Reply, 44)
	}
}

// A ring without room is a drop of this host, known for each probe.
func TestCaptureRingFull(t *testing.T) {
	p := newProbingOf(t, true, func(s *ebpf.CollectionSpec) { s.Maps["llama_replies"].MaxEntries = 4096 })
	p.sent(1)
	n := 0
	for ; n < 1000; n++ {
		ring := p.probes.reader.AvailableBytes()
		if 4096-ring < eventSize {
			break
		}
		p.must(0, p.reply.bytes(), "captured")
	}
	for kind := range kinds {
		p.must(kind, p.reply.bytes(), "ring_full")
	}
	seq, wire := be.Uint32(p.req.payload), be.Uint64(p.req.payload[4:])
	require.Equal(t, probe.FateEventLost, p.probes.Fate(p.row, seq, wire))
	require.Len(t, p.read(), n)
	p.must(0, p.reply.bytes(), "captured")
}

// The ring holds the replies of a quarter of a second, whatever the rate, within bounds.
func TestRingByRate(t *testing.T) {
	for _, c := range []struct {
		rate float64
		want uint32
	}{{0, 4 << 20}, {160_000, 4 << 20}, {170_000, 8 << 20}, {300_000, 8 << 20}, {1e6, 32 << 20}, {1e8, 64 << 20}} {
		o := ProbeOptions{Rate: c.rate}
		require.Equal(t, c.want, o.ring(), "%v probes/s", c.rate)
		if c.rate <= 1e6 {
			require.GreaterOrEqual(t, float64(c.want)/float64(eventSize), c.rate/4)
		}
	}
	// So many fit, and not one more: the header counted is the kernel's.
	p := newProbingOf(t, false, (&ProbeOptions{Rate: 300_000}).size)
	p.sent(1)
	frame := p.reply.bytes()
	const fit = 8 << 20 / 104
	require.Equal(t, 104, eventSize)
	_, err := p.program(progXDP).Run(&ebpf.RunOptions{Data: frame, Repeat: fit})
	require.NoError(t, err)
	require.Equal(t, fit*eventSize, p.probes.reader.AvailableBytes())
	p.must(0, frame, "ring_full")
}

func TestProbesRoom(t *testing.T) {
	p := newProbing(t, false)
	to := netip.AddrPortFrom(peer6, 862)
	total := len(p.probes.slots)
	a, err := p.probes.AddFlow(to, 20002, 1, total/2)
	require.NoError(t, err)
	_, err = p.probes.AddFlow(to, 20003, 1, total)
	require.ErrorIs(t, err, ErrNoRoom)
	b, err := p.probes.AddFlow(to, 20002, 1, 8) // the same session anew
	require.NoError(t, err)
	require.NotEqual(t, a, b)
	require.NoError(t, p.probes.RemoveFlow(a, to, 20002, 1))
	var f bpfLlamaFlow
	require.NoError(t, p.LlamaFlow.Lookup(&bpfLlamaFlowKey{Dst: addr16(peer6), Dport: be16(862), Sport: be16(20002), Ssid: be16(1)}, &f))
	require.Equal(t, b, f.Row)
	c, err := p.probes.AddFlow(to, 20004, 1, total/2)
	require.NoError(t, err)
	require.Equal(t, a, c, "rows and slots are used again")
}

// Reading is a hot path.
func TestProbesReadDoesNotAllocate(t *testing.T) {
	p := newProbing(t, false)
	p.sent(1)
	seen := 0
	each := func(*probe.Captured) { seen++ }
	frame := p.reply.bytes()
	p.run(progXDP, frame)
	p.probes.Read(each)
	for range 50 {
		p.run(progXDP, frame)
	}
	require.Zero(t, testing.AllocsPerRun(1, func() { p.probes.Read(each) }))
	require.Equal(t, 51, seen)
}
