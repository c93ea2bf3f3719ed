//go:build linux

package loader

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// answered runs the request, which has to be answered, and verifies the reply.
func (r *rig) answered(kind int, req *packet, a arrival) []byte {
	r.t.Helper()
	return r.answeredWith(kind, req, nil, a)
}

func (r *rig) answeredWith(kind int, req *packet, context any, a arrival) []byte {
	r.t.Helper()
	reason := "replied"
	if a.stateless {
		reason = "stateless"
	}
	from := monotonic()
	out := r.mustWith(kind, req.bytes(), context, reason)
	r.verify(req, out, a, from, monotonic())
	return out
}

var first = arrival{rx: 1, tx: 1}

// eachFamily runs the test for every program and both families.
func eachFamily(t *testing.T, r *rig, test func(t *testing.T, r *rig, kind int, v6 bool)) {
	for _, v6 := range []bool{false, true} {
		t.Run(map[bool]string{false: "ipv4", true: "ipv6"}[v6], func(t *testing.T) {
			eachKind(t, r, func(t *testing.T, r *rig, kind int) { test(t, r, kind, v6) })
		})
	}
}

func TestReflect(t *testing.T) {
	r := newRig(t)
	for name, bend := range map[string]func(*packet){
		"default-probe": func(*packet) {},
		"base":          payload(),
		"zero-trailing": octets(60),
		"three-octets":  octets(47),
		"padding":       payload(tlv(1, make([]byte, 100)...)),
		"padding-0":     payload(tlv(1)),
		"padding-odd-before": payload(tlv(1, 1, 2, 3), tlv(4, 0xb8, 0xff, 0xff, 0xff), tlv(1, 9),
			tlv(5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)),
		"all-then-trailing": payload(tlv(5, make([]byte, 12)...), tlv(4, 0, 0, 0, 0), tlv(1, 7), []byte{0, 0, 0, 0, 1, 2, 3}),
		"four":              payload(tlv(1), tlv(1), tlv(1), tlv(1), []byte{1, 2, 3}),
		"cos-twice-same":    payload(tlv(4, 40, 0, 0, 0), tlv(4, 40, 0, 0, 0)),
		"cos-twice-other":   payload(tlv(4, 40, 0, 0, 0), tlv(4, 44, 0, 0, 0), tlv(4, 40, 0, 0, 0)),
		"dm-twice":          payload(tlv(5, make([]byte, 12)...), tlv(5, make([]byte, 12)...)),
		"flags-wrong":       payload([]byte{0x7f, 1, 0, 0}, []byte{0xff, 4, 0, 4, 1, 2, 3, 4}),
		"mbz-not-zero":      func(p *packet) { p.payload[16], p.payload[38] = 1, 1 },
		"ssid-0":            func(p *packet) { p.payload[14], p.payload[15] = 0, 0 },
		"seq-max":           func(p *packet) { copy(p.payload, []byte{255, 255, 255, 255}) },
		"ethernet-padding":  func(p *packet) { p.trailer = make([]byte, 10) },
		"tag":               func(p *packet) { p.vlans = []uint16{0x8100} },
		"two-tags":          func(p *packet) { p.vlans = []uint16{0x88a8, 0x8100} },
		"tag-and-padding":   func(p *packet) { p.vlans, p.trailer = []uint16{0x8100}, []byte{1, 2, 3} },
		"not-df":            func(p *packet) { p.frag = 0 },
		"reserved-bit":      func(p *packet) { p.frag = 0xc000 },
		"other-port":        func(p *packet) { p.dport = 8620 },
		"stranger":          func(p *packet) { p.src = map[bool]netip.Addr{false: guest4, true: guest6}[p.v6()] },
		"ttl-1":             func(p *packet) { p.ttl = 1 },
		"ttl-255-ce":        func(p *packet) { p.ttl, p.tos = 255, 0xff },
		"ttl-0":             func(p *packet) { p.ttl, p.tos = 0, 0 },
		"port-1024":         func(p *packet) { p.sport = 1024 },
		"port-of-same-filter-bit": func(p *packet) {
			p.sport = 9000 + 64
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachFamily(t, r, func(_ *testing.T, r *rig, kind int, v6 bool) {
				req := request(v6)
				bend(req)
				r.answered(kind, req, first)
			})
		})
	}
}

func TestReflectFrom862(t *testing.T) {
	r := newRig(t)
	p := testPolicy()
	p.Allow862 = true
	require.NoError(t, r.setPolicy(p))
	eachFamily(t, r, func(_ *testing.T, r *rig, kind int, v6 bool) {
		req := request(v6)
		req.sport = 862
		r.answered(kind, req, first)
	})
}

func TestReflectDeniedDSCP(t *testing.T) {
	r := newRig(t)
	p := testPolicy()
	p.DenyDSCP = 1<<10 | 1<<63
	require.NoError(t, r.setPolicy(p))
	eachFamily(t, r, func(_ *testing.T, r *rig, kind int, v6 bool) {
		n := uint32(0)
		for dscp := range uint8(64) {
			req := request(v6)
			req.payload = fullProbe(dscp)
			n++
			r.answered(kind, req, arrival{rx: n, tx: n, allow: ^stamp.DSCPSet(p.DenyDSCP)})
		}
		req := request(v6)
		payload(tlv(4, 10<<2, 0, 0, 0), tlv(4, 46<<2, 0, 0, 0))(req) // refused, and so is what follows
		r.answered(kind, req, arrival{rx: n + 1, tx: n + 1, allow: ^stamp.DSCPSet(p.DenyDSCP)})
	})
}

// On the loopback interface both ends are ours.
func TestReflectLoopback(t *testing.T) {
	r := newRig(t)
	p := testPolicy()
	p.Allow = append(p.Allow, prefix("127.0.0.0/8"), prefix("::1/128"))
	require.NoError(t, r.setPolicy(p))
	require.NoError(t, r.setLocal([]netip.Addr{addr("127.0.0.1"), addr("::1"), host4}))
	require.NoError(t, r.setInterface(testIfindex, []net.HardwareAddr{make(net.HardwareAddr, 6)}, true))
	eachFamily(t, r, func(_ *testing.T, r *rig, kind int, v6 bool) {
		req := request(v6)
		req.dstMAC, req.srcMAC = [6]byte{}, [6]byte{}
		req.src, req.dst = addr("127.0.0.1"), addr("127.0.0.1")
		if v6 {
			req.src, req.dst = addr("::1"), addr("::1")
		}
		r.answered(kind, req, first)
	})
}

// The stamps of each clock, at instants that its arithmetic may stumble over.
func TestReflectClock(t *testing.T) {
	r := newRig(t)
	for name, unix := range map[string]int64{
		"now":         time.Now().UnixNano(),
		"1970":        0,
		"before-1970": -1e18 - 1,
		"ntp-era-1":   time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC).UnixNano() - 1000,
		"ptp-era-1":   time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC).UnixNano() - 1000,
		"2200":        time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(),
	} {
		for _, c := range []ClockState{{Estimate: estimate}, {Estimate: estimatePTP, PTP: true}, {Estimate: estimatePTP, PTP: true, TAIOffset: 37}, {Estimate: estimate, TAIOffset: 37}, {Estimate: estimatePTP, PTP: true, TAIOffset: math.MinInt16}} {
			t.Run(fmt.Sprintf("%s-ptp-%v-tai-%d", name, c.PTP, c.TAIOffset), func(t *testing.T) {
				c.WallMinusMono = time.Duration(unix - monotonic())
				r.setClock(c)
				eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
					r.answered(kind, request(false), first)
				})
			})
		}
	}
}

// A Multiplier of 0 must not be sent.
func TestReflectUnknownEstimate(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.object.setClock(ClockState{}))
	out := r.must(0, request(false).bytes(), "replied")
	require.Equal(t, uint16(stamp.NewErrorEstimate(false, stamp.NTP, -1)), be.Uint16(out[42+12:]))
}

func TestReflectNoChecksum(t *testing.T) {
	r := newRig(t)
	eachKind(t, r, func(_ *testing.T, r *rig, kind int) {
		req := request(false)
		req.noChecksum = true
		r.answered(kind, req, first)
	})
}

// A sender on this host leaves the checksum to its device. A packet made by a driver's
// XDP has to be whole; an sk_buff is completed on its way. In TC the sk_buff itself
// knows; a test run has none that is partial.
func TestReflectPartialChecksum(t *testing.T) {
	r := newRig(t)
	step := 1
	if testing.Short() {
		step = 7 // every remainder of 4, still
	}
	for n := 0; n < 200; n += step {
		for _, v6 := range []bool{false, true} {
			for kind, k := range kinds[:2] {
				r.reset()
				req := request(v6)
				octets(44)(req)
				req.payload = append(req.payload, make([]byte, n)...)
				if n >= 4 {
					copy(req.payload[44:], tlv(1, make([]byte, n-4)...))
					for i := 48; i < len(req.payload); i++ {
						req.payload[i] = byte(i*7 + n)
					}
				}
				req.partialChecksum = true
				from := monotonic()
				out := r.must(kind, req.bytes(), "replied")
				if k.kind == progXDP {
					req.partialChecksum = false
				}
				r.verify(req, out, first, from, monotonic())
			}
		}
	}
}

// A whole checksum may look like a partial one by chance.
func TestReflectChecksumLooksPartial(t *testing.T) {
	r := newRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		req := request(v6)
		// What the sum lacks goes into the timestamp.
		f := req.bytes()
		check := f[14+req.headerLen()+6:]
		lacks := onesSum(append(be.AppendUint16(nil, be.Uint16(check)), be.AppendUint16(nil, ^onesSum(req.pseudo()))...))
		be.PutUint16(req.payload[4:], onesSum(append(be.AppendUint16(nil, lacks), req.payload[4:6]...)))
		require.Equal(t, onesSum(req.pseudo()), be.Uint16(req.bytes()[14+req.headerLen()+6:]))
		r.answered(kind, req, first)
	})
}

// The checksum of IPv6 must never become 0, which one in 65,536 would.
func TestReflectChecksumNeverZero(t *testing.T) {
	r := newRig(t)
	frame := request(true).bytes()
	limit := testPolicy()
	limit.PeerRate = 1e9
	require.NoError(t, r.setPolicy(limit))
	for range fewer(100_000) {
		ret, out := r.run(progXDP, frame)
		require.Equal(t, kinds[0].reply, ret)
		require.NotZero(t, be.Uint16(out[14+40+6:]))
	}
}

// needs skips the test if what it needs is not there, or fails it if LLAMA_TEST_NOSKIP
// is set.
func needs(t *testing.T, what string, there bool) {
	t.Helper()
	switch {
	case there:
	case os.Getenv("LLAMA_TEST_NOSKIP") != "":
		t.Fatalf("needs %s, and LLAMA_TEST_NOSKIP is set", what)
	default:
		t.Skip("needs " + what)
	}
}

func needsFrags(t *testing.T) {
	t.Helper()
	ok, err := haveFrags()
	require.NoError(t, err)
	needs(t, "XDP fragments (Linux 5.18)", ok)
}

// jumbo is a probe of n octets, padding last.
func jumbo(v6 bool, n int) *packet {
	req := request(v6)
	pad := make([]byte, n-len(req.payload)-4)
	for i := range pad {
		pad[i] = byte(rand.Uint32())
	}
	req.payload = append(req.payload, tlv(1, pad...)...)
	return req
}

func TestReflectJumbo(t *testing.T) {
	r := newRig(t)
	for _, n := range []int{1400, 3000, 4000, 8900, 8953} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if n > 3400 { // and headers: more than a page takes beside what the kernel keeps there
				needsFrags(t)
			}
			for _, v6 := range []bool{false, true} {
				for kind, k := range kinds[:2] {
					r.reset()
					t.Log(k.name, v6)
					r.answered(kind, jumbo(v6, n), first)
				}
			}
		})
	}
}

func TestReasonNotLinear(t *testing.T) {
	needsFrags(t)
	r := newRig(t)
	for kind := range kinds[:2] {
		r.reset()
		behind := jumbo(true, 8900)
		behind.payload = append(behind.payload, tlv(5, make([]byte, 12)...)...)
		r.must(kind, behind.bytes(), "tlv_not_linear")
		r.must(kind, request(true).bytes(), "session_up")
	}
}

func TestReasonUDPLong(t *testing.T) {
	needsFrags(t)
	r := newRig(t)
	for kind := range kinds[:2] {
		r.reset()
		r.answered(kind, jumbo(false, 9207), first)
		r.must(kind, jumbo(false, 9208).bytes(), "udp_long")
		r.must(kind, jumbo(false, 8900).bytes(), "session_up")
	}
}

// What was corrupted on the way is for the stack, which drops and counts it. It is not
// received, and does not move its session: nobody knows whose it was.
func TestReasonUDPChecksum(t *testing.T) {
	r := newRig(t)
	eachFamily(t, r, func(t *testing.T, r *rig, kind int, v6 bool) {
		r.answered(kind, request(v6), first)
		whole := request(v6).bytes()
		for at := 14 + request(v6).headerLen() + 6; at < len(whole); at++ {
			f := slices.Clone(whole)
			f[at] ^= 0x40
			r.must(kind, f, "udp_checksum")
		}
		odd := request(v6)
		odd.payload = append(odd.payload, tlv(1, make([]byte, 601)...)...)
		r.answered(kind, odd, arrival{rx: 2, tx: 2})
		f := odd.bytes()
		f[len(f)-1] ^= 1
		r.must(kind, f, "udp_checksum")
		r.answered(kind, request(v6), arrival{rx: 3, tx: 3})
	})
}

// A sum goes over all parts of the buffer.
func TestReflectCorruptJumbo(t *testing.T) {
	needsFrags(t)
	r := newRig(t)
	for kind := range kinds[:2] {
		whole := jumbo(false, 8900).bytes()
		for at := 1000; at < len(whole); at += 777 {
			f := slices.Clone(whole)
			f[at] ^= 1
			r.must(kind, f, "udp_checksum")
		}
	}
}
