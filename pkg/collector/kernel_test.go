package collector

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// programs stand for the kernel's, with room for so many flows: they take the replies to the sessions they know.
type programs struct {
	mu    sync.Mutex
	room  int
	rows  map[session]uint32
	given uint32
	taken []probe.Captured
	fates map[uint32]probe.Fate // by number
}

type session struct{ port, ssid uint16 }

func newPrograms(room int) *programs { return &programs{room: room, rows: map[session]uint32{}} }

func (*programs) Covers(int) bool        { return true }
func (*programs) AddSocket(int) error    { return nil }
func (*programs) RemoveSocket(int) error { return nil }

func (k *programs) AddFlow(_ netip.AddrPort, port, ssid uint16, _ int) (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.room == 0 {
		return 0, errors.New("no room")
	}
	k.room--
	k.given++
	k.rows[session{port, ssid}] = k.given
	return k.given, nil
}

func (k *programs) RemoveFlow(row uint32, _ netip.AddrPort, port, ssid uint16) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.room++
	if k.rows[session{port, ssid}] == row {
		delete(k.rows, session{port, ssid})
	}
	return nil
}

func (k *programs) Fate(_, seq uint32, _ uint64) probe.Fate { return k.fates[seq] }

func (k *programs) Read(each func(*probe.Captured)) (all bool) {
	k.mu.Lock()
	taken := k.taken
	k.taken = nil
	k.mu.Unlock()
	for i := range taken {
		each(&taken[i])
	}
	return true
}

// stand has them see what the peer answers.
func (k *programs) stand(t *testing.T) func(*peer) {
	clk, err := newSystemClock()
	require.NoError(t, err)
	t.Cleanup(func() { _ = clk.Close() })
	return func(p *peer) {
		var to session
		p.arrivedFrom = func(b []byte, from netip.AddrPort) {
			to = session{from.Port(), stamp.SSID(b, stamp.Unauthenticated)}
		}
		p.edit = func(b []byte) []byte {
			k.mu.Lock()
			defer k.mu.Unlock()
			row, known := k.rows[to]
			if !known {
				return b
			}
			_, now := clk.Read()
			k.taken = append(k.taken, probe.Captured{Row: row, T1: now - 1000, T4: now, TTL: 255, Reply: b})
			return nil // what goes to the socket is empty
		}
	}
}

func (k *programs) known() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.rows)
}

// Sessions begin anew while the flows before still have their rows: nothing is lost for it, and a path is measured in
// the kernel as a whole or not at all.
func TestNoRoomForASessionBegunAnew(t *testing.T) {
	for name, c := range map[string]struct{ room, before, flows, after int }{
		"room for all":             {room: 8, before: 4, flows: 4, after: 4},
		"room for some more":       {room: 6, before: 4, flows: 4, after: 4},
		"room for those before":    {room: 4, before: 4, flows: 4, after: 4},
		"more flows, but no room":  {room: 5, before: 4, flows: 6, after: 0},
		"less room than is needed": {room: 3, before: 0, flows: 4, after: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newPrograms(c.room)
			p := newPeer(t, "127.0.0.1:0", nil, k.stand(t))
			o := testOptions(target("t", p.addr()))
			o.Kernel, o.Timing.Interval = k, 50*time.Millisecond
			o.Plan.Ports = fixedPorts(t, 6)
			var got probe.Counts // of two lines, where the clock is another now
			o.Emit = func(w *probe.Window) {
				for i := range w.Paths {
					got.Add(&w.Paths[i].Counts)
				}
			}
			o.Count = 0
			collector, err := New(o)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			var run sync.WaitGroup
			run.Go(func() {
				defer cancel()
				time.Sleep(400 * time.Millisecond)
				assert.Equal(t, c.before, k.known())
				o.Plan.Size, o.Plan.Count = 200, c.flows
				collector.Update(o.Plan)
				time.Sleep(400 * time.Millisecond)
				assert.Equal(t, c.after, k.known())
			})
			require.NoError(t, collector.Run(ctx))
			run.Wait()
			require.Positive(t, got.Received)
			require.Equal(t, got.Sent, got.Received)
			require.Zero(t, collector.Stats()["reply_stale"])
		})
	}
}

// What the kernel knew of probes in flight when it was to forget their flow holds for them. Replies come by the socket
// from then on, and may be dropped there.
func TestFatesOfAFlowWithoutARow(t *testing.T) {
	const lost, notSeen, eventLost, dropped = 0, 1, 2, 3
	l, f := testFlow(4)
	k := newPrograms(0)
	k.fates = map[uint32]probe.Fate{lost: probe.FateSent, eventLost: probe.FateEventLost, dropped: probe.FateSent}
	l.kernel, l.rows, f.stamped = k, []*flow{f}, true
	for range 4 {
		s := f.testSend()
		s.t1, s.flags = 0, slotKernel
	}
	l.withdraw(f.path)
	k.fates = nil
	require.Nil(t, l.rows[0])
	for ; f.tail != f.next; f.tail++ {
		if f.tail == dropped {
			f.sock.fresh = 1
		}
		drop, neverLeft := l.missing(f, f.slot(f.tail))
		require.Equal(t, f.tail == eventLost || f.tail == dropped, drop, "%d", f.tail)
		require.Equal(t, f.tail == notSeen, neverLeft, "%d", f.tail)
	}
}

// A flow that had no room is tried again once another one gives its row back.
func TestRoomAgain(t *testing.T) {
	l, gone := testFlow(1)
	_, f := testFlow(1)
	l.kernel, l.log = newPrograms(1), slog.New(slog.DiscardHandler)
	for _, f := range []*flow{gone, f} {
		f.row, f.path.route.kernel = -1, true
		l.enlist(f.path)
	}
	require.True(t, gone.path.kernel)
	require.False(t, f.path.kernel)
	l.delist(gone)
	require.True(t, l.broken.Load())
	l.enlist(f.path)
	require.True(t, f.path.kernel)
}
