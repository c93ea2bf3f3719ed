package collector

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// The sizes that a plan may sweep, in octets of the IP packet, and how many.
const (
	MinSize  = 64
	MaxSize  = 65535
	MaxSizes = 32
)

// A sweep is the sizes that the flows of a path take in turn, and which probe had
// which. It stands apart from flows and slots, so that paths that are not swept
// pay nothing for it.
type sweep struct {
	sizes  []int             // octets of the IP packet, ascending
	probes []*stamp.Template // by size
	turn   []uint8           // by flow: the size that is sent next
	sent   []uint8           // by flow and slot: the size of the probe there
}

// newSweep builds a probe of each size. Sizes that a probe cannot have give way to
// the next longer one that it can.
func newSweep(p *resolvedPlan, w *plannedPath, slots int, templates map[templateKey]*stamp.Template) (*sweep, *stamp.Authenticator, error) {
	bare, auth, err := templateOf(w.target, w.key.ssid, w.key.class.DSCP, 0, templates)
	if err != nil {
		return nil, nil, err
	}
	s := &sweep{turn: make([]uint8, len(w.ports)), sent: make([]uint8, len(w.ports)*slots)}
	for _, size := range p.Sizes {
		s.sizes = append(s.sizes, payloadOf(size, w.addr.Addr(), bare.Len(), w.target.TLV)+headersOf(w.addr.Addr()))
	}
	slices.Sort(s.sizes)
	s.sizes = slices.Compact(s.sizes)
	for _, size := range s.sizes {
		t, _, err := templateOf(w.target, w.key.ssid, w.key.class.DSCP, size-headersOf(w.addr.Addr()), templates)
		if err != nil {
			return nil, nil, fmt.Errorf("size %d: %w", size, err)
		}
		s.probes = append(s.probes, t)
	}
	for i := range s.turn {
		s.turn[i] = uint8(i % len(s.sizes)) // all sizes at any time, not all flows with one
	}
	return s, auth, nil
}

// headersOf is what a UDP datagram has before its payload.
func headersOf(to netip.Addr) int {
	if to.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// payloadOf returns the payload of an IP packet of that size; where the probe's
// parts and a padding TLV, which has 4 octets at least, do not fit it, the least
// above it that they do.
func payloadOf(size int, to netip.Addr, shortest int, tlv bool) int {
	n := max(size-headersOf(to), shortest)
	if tlv && n > shortest {
		n = max(n, shortest+stamp.TLVHeaderLen)
	}
	return min(n, stamp.MaxSize)
}

// next returns the probe whose turn it is. The turn passes on whether it leaves or
// not: a size that this host cannot send must not hold up the others.
func (s *sweep) next(f *flow) *stamp.Template {
	i := s.turn[f.index]
	s.turn[f.index] = (i + 1) % uint8(len(s.sizes))
	s.sent[s.at(f, f.next)] = i
	return s.probes[i]
}

func (s *sweep) at(f *flow, seq uint32) int {
	n := f.path.inFlight
	return int(uint32(f.index)*n + seq%n)
}

// next returns the probe that the flow sends now.
func (p *path) next(f *flow) *stamp.Template {
	if p.sweep != nil {
		return p.sweep.next(f)
	}
	return p.probe
}

func (p *path) setErrorEstimate(e stamp.ErrorEstimate) {
	p.probe.SetErrorEstimate(e)
	if p.sweep != nil {
		for _, t := range p.sweep.probes {
			t.SetErrorEstimate(e)
		}
	}
}

// endSwept ends a probe and counts it by its size.
func (l *loop) endSwept(f *flow, s *slot) {
	w := f.path.window(s.win)
	c := &w.flows[f.index]
	sent, received := c.sent, c.received
	l.end(f, s)
	z := &w.sizes[f.path.sweep.sent[f.path.sweep.at(f, f.tail)]]
	z.Sent += uint64(c.sent - sent)
	z.Received += uint64(c.received - received)
}

// newSizes are the counts of a window that is opened.
func (s *sweep) newSizes() []probe.SizeCount {
	if s == nil {
		return nil
	}
	out := make([]probe.SizeCount, len(s.sizes))
	for i, size := range s.sizes {
		out[i].Size = size
	}
	return out
}

// largest is the most octets of payload that a probe of the plan has; 0 is a
// probe as short as can be.
func (p *Plan) largest() int {
	n := p.Size
	for _, size := range p.Sizes {
		n = max(n, size) // headers are not counted off: room is cheap
	}
	return n
}

// fit makes room for probes of that size, and their replies.
func (l *loop) fit(size int) {
	if l.out.batch != nil && size <= l.fits {
		return
	}
	l.fits = max(256, size)
	l.out.batch = sock.NewBatch(batchSize, l.fits)
	l.in = sock.NewBatch(batchSize, max(2048, size))
	for _, s := range l.packets.sockets {
		s.out.batch = l.newFrames()
	}
}
