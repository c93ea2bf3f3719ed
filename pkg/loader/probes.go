//go:build linux

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// ProbeOptions is room for measuring in the kernel.
type ProbeOptions struct {
	Flows       int     // at most so many; 0: nothing is measured in the kernel
	InFlight    int     // probes of a flow at once
	Rate        float64 // of all flows, probes a second
	First, Last uint16  // source ports of the probes
	Changed     func()  // told when Covers has another answer; may be nil
}

// ErrNoRoom means that no more flows fit the tables in the kernel.
var ErrNoRoom = errors.New("no room for another flow in the kernel")

// Least sizes of the tables: a configuration that grows a little finds them as it
// left them.
const (
	leastFlows = 16384
	leastSlots = 65536
)

func powerOfTwo(n int) uint32 {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}

// size makes the tables as large as the options ask for.
func (o *ProbeOptions) size(spec *ebpf.CollectionSpec) {
	spec.Maps["llama_flow"].MaxEntries, spec.Maps["llama_slot"].MaxEntries = o.tables()
	spec.Maps["llama_replies"].MaxEntries = o.ring()
}

// tables is how many flows and slots the tables hold. Slots come to twice what is
// needed: flows that are gone keep theirs until the last reply can have come.
func (o *ProbeOptions) tables() (flows, slots uint32) {
	return max(leastFlows, powerOfTwo(2*o.Flows)), max(leastSlots, powerOfTwo(2*o.Flows*int(powerOfTwo(o.InFlight))))
}

// Fit says whether tables made for other options hold what these ask for.
func (o *ProbeOptions) Fit(made *ProbeOptions) bool {
	flows, slots := o.tables()
	madeFlows, madeSlots := made.tables()
	return flows <= madeFlows && slots <= madeSlots
}

// The ring holds the replies of ringHolds. A process that stands still sends nothing: what comes
// meanwhile was in flight, for no longer than a round trip. More would not be safer, but slower: a
// ring is written from end to end, and past a few MiB no line of it is in a cache.
const (
	ringHolds = 250 * time.Millisecond
	leastRing = 1 << 22 // octets
	mostRing  = 1 << 26
	eventSize = int(unsafe.Sizeof(bpfLlamaEvent{})) + 8 // with the kernel's header
)

// ring is the octets of the ring for that rate, a power of two.
func (o *ProbeOptions) ring() uint32 {
	octets := o.Rate * ringHolds.Seconds() * float64(eventSize)
	return powerOfTwo(int(min(max(octets, leastRing), mostRing)))
}

// Probes measures in the kernel: T1 of probes where they leave an interface, T4 of
// their replies where they come in. All methods but Covers are for one goroutine.
type Probes struct {
	object   *object
	memory   []byte         // llama_slot's
	slots    []bpfLlamaSlot // the same
	reader   *ringbuf.Reader
	record   ringbuf.Record
	captured probe.Captured
	covered  atomic.Pointer[map[int]bool] // by interface index

	rows     []probeRow
	freeRows []uint32
	// Slots are handed out in ranges of powers of two, and taken back likewise.
	freeSlots map[uint32][]uint32
	nextSlot  uint32
}

// probeRow is where a flow's probes in flight are noted. Its key is the caller's to keep:
// there may be half a million.
type probeRow struct{ first, mask uint32 }

func newProbes(o *object) (_ *Probes, err error) {
	p := &Probes{object: o, freeSlots: map[uint32][]uint32{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	// What an earlier process left here is of sockets that are gone.
	if err := replace(o.LlamaSocket, map[uint64]uint8{}, nil); err != nil {
		return nil, fmt.Errorf("forget sockets: %w", err)
	}
	if err := replace(o.LlamaFlow, map[bpfLlamaFlowKey]bpfLlamaFlow{}, nil); err != nil {
		return nil, fmt.Errorf("forget flows: %w", err)
	}
	n := int(o.LlamaSlot.MaxEntries())
	size := n * int(unsafe.Sizeof(bpfLlamaSlot{}))
	page := os.Getpagesize()
	p.memory, err = unix.Mmap(o.LlamaSlot.FD(), 0, (size+page-1)/page*page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map llama_slot: %w", err)
	}
	p.slots = unsafe.Slice((*bpfLlamaSlot)(unsafe.Pointer(&p.memory[0])), n)
	if p.reader, err = ringbuf.NewReader(o.LlamaReplies); err != nil {
		return nil, fmt.Errorf("read llama_replies: %w", err)
	}
	p.reader.SetDeadline(time.Unix(1, 0)) // never wait
	p.cover(nil)
	return p, nil
}

func (p *Probes) close() error {
	var errs []error
	if p.reader != nil {
		errs = append(errs, p.reader.Close())
	}
	if p.memory != nil {
		errs = append(errs, unix.Munmap(p.memory))
	}
	return errors.Join(errs...)
}

// setProbePorts says which packets may be replies to probes, or probes; 0: none.
func (o *object) setProbePorts(first, last uint16) error {
	return o.updateConfig(func(c *bpfLlamaConfig) { c.ProbesFirst, c.ProbesLast = first, last })
}

// cover says which interfaces are covered, and whether that is new.
func (p *Probes) cover(indexes map[int]bool) (changed bool) {
	old := p.covered.Swap(&indexes)
	return old != nil && !maps.Equal(*old, indexes)
}

// Covers says whether probes that leave by the interface are stamped there, and
// replies that come in by it are captured. It is safe for concurrent use.
func (p *Probes) Covers(ifIndex int) bool { return (*p.covered.Load())[ifIndex] }

// AddSocket makes probes known that leave from a socket.
func (p *Probes) AddSocket(fd int) error {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err == nil {
		err = p.object.LlamaSocket.Update(cookie, uint8(1), ebpf.UpdateAny)
	}
	if err != nil {
		return fmt.Errorf("make socket known to the kernel: %w", err)
	}
	return nil
}

// RemoveSocket forgets a socket, before it is closed.
func (p *Probes) RemoveSocket(fd int) error {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err == nil {
		err = p.object.LlamaSocket.Delete(cookie)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget socket: %w", err)
	}
	return nil
}

// AddFlow makes a flow known, with room for so many probes in flight, and returns
// its name in Captured.Row and to Fate. ErrNoRoom: it has to do without.
func (p *Probes) AddFlow(to netip.AddrPort, sourcePort, ssid uint16, inFlight int) (uint32, error) {
	size := powerOfTwo(inFlight)
	first, ok := p.takeSlots(size)
	if !ok {
		return 0, ErrNoRoom
	}
	row := uint32(len(p.rows))
	if n := len(p.freeRows); n > 0 {
		row = p.freeRows[n-1]
		p.freeRows = p.freeRows[:n-1]
	} else {
		p.rows = append(p.rows, probeRow{})
	}
	key := flowKey(to, sourcePort, ssid)
	p.rows[row] = probeRow{first: first, mask: size - 1}
	err := p.object.LlamaFlow.Update(&key, &bpfLlamaFlow{Row: row, First: first, Mask: size - 1}, ebpf.UpdateAny)
	if err != nil {
		p.giveBack(row)
		if errors.Is(err, unix.E2BIG) {
			return 0, ErrNoRoom
		}
		return 0, fmt.Errorf("make flow known to the kernel: %w", err)
	}
	return row, nil
}

func flowKey(to netip.AddrPort, sourcePort, ssid uint16) bpfLlamaFlowKey {
	return bpfLlamaFlowKey{Dst: addr16(to.Addr()), Dport: be16(to.Port()), Sport: be16(sourcePort), Ssid: be16(ssid)}
}

// RemoveFlow forgets a flow by its row and what it was added with. Another that was added
// since for the same session stays.
func (p *Probes) RemoveFlow(row uint32, to netip.AddrPort, sourcePort, ssid uint16) error {
	key := flowKey(to, sourcePort, ssid)
	var now bpfLlamaFlow
	err := p.object.LlamaFlow.Lookup(&key, &now)
	if err == nil && now.Row == row {
		err = p.object.LlamaFlow.Delete(&key)
	}
	p.giveBack(row)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget flow: %w", err)
	}
	return nil
}

func (p *Probes) takeSlots(size uint32) (first uint32, ok bool) {
	if free := p.freeSlots[size]; len(free) > 0 {
		p.freeSlots[size] = free[:len(free)-1]
		return free[len(free)-1], true
	}
	if uint64(p.nextSlot)+uint64(size) > uint64(len(p.slots)) {
		return 0, false
	}
	first = p.nextSlot
	p.nextSlot += size
	return first, true
}

func (p *Probes) giveBack(row uint32) {
	r := p.rows[row]
	p.freeSlots[r.mask+1] = append(p.freeSlots[r.mask+1], r.first)
	p.freeRows = append(p.freeRows, row)
	p.rows[row] = probeRow{}
}

// Fate says what became of a probe by its number and T1, as long as it is among the
// last in flight of its flow.
func (p *Probes) Fate(row, seq uint32, wire uint64) probe.Fate {
	r := &p.rows[row]
	s := &p.slots[r.first+seq&r.mask]
	switch {
	case s.Seq != seq || s.State == 0 || t1Wire(s) != wire:
		return probe.FateNotSeen
	case s.State&slotEventLost != 0:
		return probe.FateEventLost
	}
	return probe.FateSent
}

// t1Wire is T1 as it lies in the packet.
func t1Wire(s *bpfLlamaSlot) uint64 {
	return binary.BigEndian.Uint64((*[8]byte)(unsafe.Pointer(&s.T1Wire))[:])
}

// readAtMost bounds how long one Read keeps its caller.
const readAtMost = 4096

// Read hands over the replies captured since the last call, and says whether those
// were all. It does not wait, and allocates nothing.
func (p *Probes) Read(each func(*probe.Captured)) (all bool) {
	for range readAtMost {
		if p.reader.AvailableBytes() == 0 {
			return true
		}
		if err := p.reader.ReadInto(&p.record); err != nil {
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
		e := (*bpfLlamaEvent)(unsafe.Pointer(&p.record.RawSample[0]))
		p.captured = probe.Captured{
			Row: e.Row, T1: int64(e.T1Ns), T4: int64(e.T4Ns), TTL: e.Ttl, TOS: e.Tos,
			Reply: e.Reply[:min(int(e.Len), len(e.Reply))],
		}
		each(&p.captured)
	}
	return false
}
