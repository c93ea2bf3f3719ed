//go:build linux

package loader

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// request is a valid probe of peer4 (or peer6): base, Class of Service, Direct
// Measurement.
func request(v6 bool) *packet {
	p := &packet{
		dstMAC: hostMAC, srcMAC: peerMAC, etherType: 0x0800,
		src: peer4, dst: host4, tos: 46<<2 | 1, ttl: 61, id: 0x1234, frag: 0x4000, proto: 17,
		sport: 20001, dport: testPort,
	}
	if v6 {
		p.etherType, p.src, p.dst, p.label = 0x86dd, peer6, host6, 0xabcde
	}
	p.payload = fullProbe(10)
	return p
}

func fullProbe(dscp1 uint8) []byte {
	b := base()
	b = append(b, make([]byte, stamp.ClassOfServiceLen+stamp.DirectMeasurementLen)...)
	n := stamp.BaseLen + stamp.PutClassOfService(b[stamp.BaseLen:], dscp1)
	stamp.PutDirectMeasurement(b[n:], 78)
	return b
}

func base() []byte {
	b := make([]byte, stamp.BaseLen)
	(&stamp.SenderPacket{
		Seq: 77, Timestamp: 0xe1e2e3e4e5e6e7e8, ErrorEstimate: stamp.NewErrorEstimate(true, stamp.PTPv2, 123456), SSID: 0x0102,
	}).Put(b)
	return b
}

// arrival is what the session knows; the rest is read from the packet.
type arrival struct {
	rx, tx    uint32
	stateless bool
	allow     stamp.DSCPSet
}

// verify compares the reply with what the socket reflector would have sent for the
// request, octet by octet. T2 and T3 are taken from the reply, and have to lie
// between from and to (ns monotonic), in their order.
func (r *rig) verify(req *packet, out []byte, a arrival, from, to int64) {
	r.t.Helper()
	l4 := 14 + 4*len(req.vlans) + req.headerLen()
	require.GreaterOrEqual(r.t, len(out), l4+8+stamp.BaseLen)
	t3 := stamp.Timestamp(be.Uint64(out[l4+8+4:]))
	t2 := stamp.Timestamp(be.Uint64(out[l4+8+16:]))
	near := from + int64(r.offset)
	t2ns, t3ns := r.clock.UnixNano(t2, near)-int64(r.offset), r.clock.UnixNano(t3, near)-int64(r.offset)
	require.LessOrEqual(r.t, from, t2ns, "T2 is before the request")
	require.LessOrEqual(r.t, t2ns, t3ns, "T3 is before T2")
	require.LessOrEqual(r.t, t3ns, to, "T3 is after the reply")
	for _, ts := range []stamp.Timestamp{t2, t3} { // as internal/stamp has it, but for one unit of 2^-32 s (bpf/time.h)
		require.InDelta(r.t, 0, int64(r.clock.FromUnixNano(r.clock.UnixNano(ts, near))-ts), 1)
	}
	require.Equal(r.t, hexdump(r.reply(req, a, t2, t3)), hexdump(out))
}

// reply is the reply to req, by internal/stamp and the builder.
func (r *rig) reply(req *packet, a arrival, t2, t3 stamp.Timestamp) []byte {
	r.t.Helper()
	if a.allow == 0 {
		a.allow = stamp.AllDSCP
	}
	e := estimate
	if r.clock.Format == stamp.PTPv2 {
		e = estimatePTP
	}
	rep := *req
	rep.payload = slices.Clone(req.payload)
	res, err := stamp.Reflect(rep.payload, &stamp.Arrival{
		Receive: t2, ErrorEstimate: e, TTL: req.ttl, DSCP: req.tos >> 2, ECN: req.tos & 3,
		Rx: a.rx, Tx: a.tx, Stateless: a.stateless, AllowDSCP: a.allow,
	}, nil)
	require.NoError(r.t, err)
	res.Finish(rep.payload, t3, nil)
	rep.dstMAC, rep.srcMAC = req.srcMAC, req.dstMAC
	rep.src, rep.dst = req.dst, req.src
	rep.sport, rep.dport = req.dport, req.sport
	rep.tos, rep.ttl, rep.frag = res.DSCP<<2, 255, 0x4000
	return rep.bytes()
}

func stampAt(b []byte) stamp.Timestamp { return stamp.Timestamp(be.Uint64(b)) }

var estimatePTP = stamp.NewErrorEstimate(true, stamp.PTPv2, 5000)
