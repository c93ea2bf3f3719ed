package collector

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/probe"
)

// A ring stands for the kernel's programs: it covers all interfaces, and replies are put into it instead of being sent.
type ring struct {
	clock  clock
	mirror *mirror
	taken  probe.Captured
	n      int // replies in the mirror's batch
}

func (*ring) Covers(int) bool                                             { return true }
func (*ring) AddSocket(int) error                                         { return nil }
func (*ring) RemoveSocket(int) error                                      { return nil }
func (*ring) AddFlow(netip.AddrPort, uint16, uint16, int) (uint32, error) { return 0, nil }
func (*ring) RemoveFlow(uint32, netip.AddrPort, uint16, uint16) error     { return nil }
func (*ring) Fate(uint32, uint32, uint64) probe.Fate                      { return probe.FateSent }

func (r *ring) Read(take func(*probe.Captured)) (all bool) {
	_, now := r.clock.Read()
	for i := range r.n {
		r.taken = probe.Captured{T1: now - 1000, T4: now, TTL: 254, Reply: r.mirror.in.Payload(i)}
		take(&r.taken)
	}
	r.n = 0
	return true
}

// Nor does a probe that leaves as a frame, and whose reply the kernel takes. The frames are real, and cross a veth.
func TestFrameDoesNotAllocate(t *testing.T) {
	for name, with := range map[string]func(*Options){"plain": func(*Options) {}, "with all": withAll} {
		t.Run(name, func(t *testing.T) {
			l := lab.ForTest(t, 2)
			h1, h2 := l.Host(1), l.Host(2)
			r := &ring{}
			require.NoError(t, h2.Do(func() error { r.mirror = newMirror(t); return nil }))
			require.NoError(t, h1.Do(func() error {
				clock, err := newSystemClock()
				if err != nil {
					return err
				}
				r.clock = clock
				o := allocOptions(r.mirror)
				o.Plan.Targets[0].Address = h2.IPv4.String()
				o.Kernel, o.EmitPacket = r, true
				with(&o)
				requireNoAllocs(t, o, func() { r.n = r.mirror.answer() })
				return clock.Close()
			}))
		})
	}
}
