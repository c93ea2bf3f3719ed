//go:build linux

package loader

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A flood of forged sources, each another one, half of them of IPv6.
type flood struct {
	name   string
	ending Ending
	v4, v6 string // the first source
	most   bound  // that it may leave behind
}

// bound is how many entries the maps have that packets make.
type bound struct{ peer, source, guest, gsource int }

var floods = []flood{
	{"unlisted", Ending{"not_allowed", "drop"}, "172.16.0.0", "2001:db8::ffff:ffff:0:0", bound{}},
	{"strangers", Ending{"replied", "reply"}, "10.1.0.0", "fd01::ffff:ffff:0:0", bound{guest: 4096, gsource: 16384}},
}

// frames are the two requests of which a flood is made.
func (f *flood) frames() (v4, v6 []byte) {
	four, six := request(false), request(true)
	four.src, six.src = addr(f.v4), addr(f.v6)
	four.noChecksum = true
	return four.bytes(), six.bytes()
}

// forge4 and forge6 write the source of number n, the checksums right.
func forge4(frame []byte, n uint32) []byte {
	header := frame[14:34]
	src := header[12:16]
	be.PutUint32(src, be.Uint32(src)&^0xffff|n&0xffff) // within a /16
	header[10], header[11] = 0, 0
	be.PutUint16(header[10:], ^onesSum(header))
	return frame
}

func forge6(frame []byte, n uint32) []byte {
	src := frame[22:38]
	be.PutUint32(src[8:], ^n) // so that the sum stays
	be.PutUint32(src[12:], n)
	return frame
}

// Forged sources, listed or not, take no peer's session away, fill no memory, and slow
// no peer: a peer's probes between them are all answered, their numbers without a gap,
// and it takes no longer than before. What is not listed leaves no trace but the count.
func TestFlood(t *testing.T) {
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			onWire(t, func(t *testing.T, w *wire, kind int) {
				const batch = 100 // fits a veth's ring
				forged := fewer(100_000)
				if kinds[kind].kind != progXDP { // the same code: fewer will do
					forged /= 10
				}
				p := w.newProber()
				quiet := p.probes(100)
				memory, before := w.memory(), w.ends()

				busy := make([]time.Duration, 0, forged/batch)
				v4, v6 := f.frames()
				for n := 0; n < forged; n += batch {
					for i := n / 2; i < (n+batch)/2; i++ {
						p.write(forge4(v4, uint32(i)))
						p.write(forge6(v6, uint32(i)))
					}
					busy = append(busy, p.probes(1)...)
				}
				after := w.ends()
				after[Ending{"replied", "reply"}] -= before[Ending{"replied", "reply"}] + uint64(len(busy))
				require.EqualValues(t, forged, after[f.ending], after)
				require.Equal(t, memory, w.memory())
				s, ok := w.session(request(false))
				require.True(t, ok)
				require.Equal(t, []uint32{p.sent, p.sent}, []uint32{s.Rx, s.Tx})
				made := w.made()
				require.Equal(t, bound{peer: 1, source: 2}, bound{peer: made.peer, source: made.source}, "the peer and the crowd")
				require.LessOrEqual(t, made.guest, f.most.guest)
				require.LessOrEqual(t, made.gsource, f.most.gsource)
				require.Less(t, median(busy), 3*median(quiet)+2*time.Microsecond, "from T2 to T3; quiet: %s", median(quiet))
			})
		})
	}
}

// A prober is a peer with one session, and forges others' packets.
type prober struct {
	*wire
	probe *net.UDPConn
	raw   int
	sent  uint32
}

func (w *wire) newProber() *prober {
	w.t.Helper()
	req := request(false)
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: req.src.AsSlice(), Port: int(req.sport)}, &net.UDPAddr{IP: req.dst.AsSlice(), Port: int(req.dport)})
	require.NoError(w.t, err)
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { c.Close(); unix.Close(raw) })
	require.NoError(w.t, unix.Bind(raw, &unix.SockaddrLinklayer{Ifindex: w.local.Attrs().Index}))
	return &prober{wire: w, probe: c, raw: raw}
}

// probes sends n, each after the reply to the one before, which must have its number in
// the session, and returns the times from T2 to T3.
func (p *prober) probes(n int) (took []time.Duration) {
	p.t.Helper()
	b := make([]byte, 256)
	for range n {
		_, err := p.probe.Write(request(false).payload)
		require.NoError(p.t, err)
		require.NoError(p.t, p.probe.SetReadDeadline(time.Now().Add(2*time.Second)))
		_, err = p.probe.Read(b)
		require.NoError(p.t, err, p.ends())
		require.Equal(p.t, p.sent, be.Uint32(b))
		p.sent++
		now := time.Now().UnixNano()
		took = append(took, time.Duration(p.clock.UnixNano(stampAt(b[4:]), now)-p.clock.UnixNano(stampAt(b[16:]), now)))
	}
	return took
}

func (p *prober) write(frame []byte) {
	p.t.Helper()
	_, err := unix.Write(p.raw, frame)
	require.NoError(p.t, err)
}

// memory is what the kernel accounts to the maps that packets write.
func (w *wire) memory() (sum uint64) {
	w.t.Helper()
	for _, m := range []*ebpf.Map{w.LlamaPeer, w.LlamaGuest, w.LlamaSource, w.LlamaGsource, w.LlamaReason, w.LlamaIfstat} {
		info, err := m.Info()
		require.NoError(w.t, err)
		n, ok := info.Memlock()
		require.True(w.t, ok)
		require.Positive(w.t, n)
		sum += n
	}
	return sum
}

func (w *wire) made() bound {
	w.t.Helper()
	sources, err := entries[bpfLlamaAddr, bpfLlamaSource](w.LlamaSource)
	require.NoError(w.t, err)
	guests, err := entries[bpfLlamaAddr, bpfLlamaGsource](w.LlamaGsource)
	require.NoError(w.t, err)
	return bound{w.len(w.LlamaPeer), len(sources), w.len(w.LlamaGuest), len(guests)}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
