//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tap's ring: 32,768 frames of 256 octets. A frame is 66 octets of ring header (TPACKET2_HDRLEN,
// aligned, and the kernel's margin), 62 of Ethernet, IPv6 and UDP, and 128 of payload. Read every 5 ms
// it overruns beyond six million packets a second.
const (
	tapFrameSize  = 256
	tapFrames     = 1 << 15
	tapBlockSize  = 1 << 16
	tapPoll       = 5 * time.Millisecond
	tapMaxRecords = 1 << 20
	headSize      = 128
)

// Offsets into a TPACKET_V2 frame: struct tpacket2_hdr, then struct sockaddr_ll.
const (
	frameStatus  = 0  // u32
	frameSnapLen = 8  // u32
	frameMAC     = 12 // u16, where the Ethernet header starts
	frameSec     = 16 // u32
	frameNsec    = 20 // u32
	framePktType = 32 + 10
)

// Tap records the UDP packets that pass one port of the fabric, or a host's own interface, both ways,
// with the kernel's stamps.
// It reads a ring on a timer, so that capturing wakes nobody in the middle of a measurement.
type Tap struct {
	fabric *Fabric
	port   string
	own    bool // of the host itself
	fd     int
	ring   []byte
	next   int // frame to read

	quit    chan struct{}
	done    chan struct{}
	records []Record
	heads   []byte // where payload heads are kept, a chunk at a time
	err     error  // the first one of the reader

	stopOnce sync.Once
	stopErr  error
}

// Tap starts recording at the fabric's port to the host. When it returns, packets are seen and stamped.
func (f *Fabric) Tap(h *Host) (*Tap, error) {
	index, err := f.portIndex(h)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", h.port, err)
	}
	t := &Tap{fabric: f, port: h.port, fd: -1, quit: make(chan struct{}), done: make(chan struct{})}
	if err := f.ns.do(func() error { return t.open(index) }); err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", h.port, err), t.release())
	}
	f.mu.Lock()
	f.taps[t] = struct{}{}
	f.mu.Unlock()
	go t.run()
	return t, nil
}

// TapHost starts recording at the host's own interface, behind its queue: what the program at TC egress
// has stamped passes here next, and what comes in passes here before that at TC ingress. It is no truth (a
// host's tap sees nothing of native XDP), but tells this host's part of a difference to the fabric's.
func (f *Fabric) TapHost(h *Host) (*Tap, error) {
	t := &Tap{fabric: f, port: h.Name + ":eth0", own: true, fd: -1, quit: make(chan struct{}), done: make(chan struct{})}
	err := h.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return t.open(i.Index)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", t.port, err), t.release())
	}
	f.mu.Lock()
	f.taps[t] = struct{}{}
	f.mu.Unlock()
	go t.run()
	return t, nil
}

// open makes the socket deaf (protocol 0) until filter and ring are in place.
func (t *Tap) open(index int) (err error) {
	if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	filter := udpFilter()
	for _, set := range []func() error{
		func() error { return unix.SetsockoptSockFprog(t.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter) },
		func() error { return unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) },
		func() error {
			return unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_SOFTWARE)
		},
		func() error { return unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2) },
		func() error {
			return unix.SetsockoptTpacketReq(t.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
				Block_size: tapBlockSize, Block_nr: tapFrames * tapFrameSize / tapBlockSize,
				Frame_size: tapFrameSize, Frame_nr: tapFrames,
			})
		},
	} {
		if err := set(); err != nil {
			return fmt.Errorf("set up packet socket: %w", err)
		}
	}
	t.ring, err = unix.Mmap(t.fd, 0, tapFrames*tapFrameSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map ring: %w", err)
	}
	if err := stampsOn(); err != nil { // after the socket has asked for stamps, before it hears anything
		return err
	}
	all := uint16(unix.ETH_P_ALL) // without it a socket does not see what goes out
	addr := &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index}
	if err := unix.Bind(t.fd, addr); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// udpFilter takes UDP in IPv4 and (without extension headers) in IPv6.
func udpFilter() *unix.SockFprog {
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12}, // EtherType
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 14 + 9}, // IPv4 protocol
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 14 + 6}, // IPv6 next header
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
}

func (t *Tap) run() {
	defer close(t.done)
	tick := time.NewTicker(tapPoll)
	defer tick.Stop()
	for {
		t.drain()
		select {
		case <-tick.C:
		case <-t.quit:
			t.drain()
			return
		}
	}
}

// drain reads the frames that the kernel has handed over. The status word is the handshake: atomic, since
// the kernel writes it last.
func (t *Tap) drain() {
	for {
		frame := t.ring[t.next*tapFrameSize:][:tapFrameSize]
		word := (*uint32)(unsafe.Pointer(&frame[frameStatus]))
		status := atomic.LoadUint32(word)
		if status&unix.TP_STATUS_USER == 0 {
			return
		}
		if t.err == nil {
			t.err = t.take(frame, status)
		}
		atomic.StoreUint32(word, unix.TP_STATUS_KERNEL)
		t.next = (t.next + 1) % tapFrames
	}
}

func (t *Tap) take(frame []byte, status uint32) error {
	if status&unix.TP_STATUS_TS_SOFTWARE == 0 {
		return errors.New("a packet has no kernel stamp")
	}
	if len(t.records) == tapMaxRecords {
		return fmt.Errorf("more than %d packets", tapMaxRecords)
	}
	mac := int(binary.NativeEndian.Uint16(frame[frameMAC:]))
	snap := int(binary.NativeEndian.Uint32(frame[frameSnapLen:]))
	r, payload, ok := parseUDP(frame[mac:min(mac+snap, tapFrameSize)])
	if !ok {
		return nil
	}
	r.Time = int64(binary.NativeEndian.Uint32(frame[frameSec:]))*1e9 + int64(binary.NativeEndian.Uint32(frame[frameNsec:]))
	if out := frame[framePktType] == unix.PACKET_OUTGOING; out != t.own {
		r.Direction = ToHost
	}
	r.Head = t.keep(payload[:min(len(payload), headSize)])
	t.records = append(t.records, r)
	return nil
}

// keep copies a head out of the ring.
func (t *Tap) keep(b []byte) []byte {
	const chunk = 1 << 16
	if cap(t.heads)-len(t.heads) < len(b) {
		t.heads = make([]byte, 0, chunk)
	}
	start := len(t.heads)
	t.heads = append(t.heads, b...)
	return t.heads[start:len(t.heads):len(t.heads)]
}

// Stop ends the tap and returns what it saw, in the order of the ring. A tap that missed a packet returns
// an error: it is no truth.
func (t *Tap) Stop() ([]Record, error) {
	t.stopOnce.Do(func() {
		close(t.quit)
		<-t.done
		var dropErr error
		stats, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil && stats.Drops > 0 {
			dropErr = fmt.Errorf("%d of %d packets were dropped", stats.Drops, stats.Packets)
		}
		if err = errors.Join(t.err, err, dropErr, t.release()); err != nil {
			t.stopErr = fmt.Errorf("tap %s: %w", t.port, err)
		}
		t.fabric.mu.Lock()
		delete(t.fabric.taps, t)
		t.fabric.mu.Unlock()
	})
	return t.records, t.stopErr
}

func (t *Tap) release() error {
	var errs []error
	if t.ring != nil {
		errs = append(errs, unix.Munmap(t.ring))
		t.ring = nil
	}
	if t.fd >= 0 {
		errs = append(errs, unix.Close(t.fd))
		t.fd = -1
	}
	return errors.Join(errs...)
}
