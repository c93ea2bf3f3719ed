//go:build linux

package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// A test run without a context comes in by the loopback interface, index 1.
const proofIfindex = 1

const proofTTL = 64

var (
	proofMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	proofDst = netip.AddrFrom4([4]byte{192, 0, 2, 1}) // of the documentation's prefix
	proofSrc = netip.AddrFrom4([4]byte{192, 0, 2, 2})
)

// prove runs the program once in the kernel and compares the reply, octet by octet,
// with what the socket reflector would send. It is a second copy of the program, with
// maps of its own: what the loaded one knows and counts is not touched. That both
// are of the same instructions is compared too. Once is enough: a loaded program does
// not change, whatever interface it is put on.
func (o *object) prove(k programKind) error {
	o.mu.Lock()
	proven := o.proven[k]
	o.mu.Unlock()
	if proven {
		return nil
	}
	if err := o.proveCopy(k); err != nil {
		return err
	}
	o.mu.Lock()
	o.proven[k] = true
	o.mu.Unlock()
	return nil
}

func (o *object) proveCopy(k programKind) (err error) {
	spec, err := readSpec()
	if err != nil {
		return err
	}
	unpinned(spec)
	emptyOthers(spec, k)
	copied, err := newObject(spec, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	if err := sameProgram(o.program(k), copied.program(k)); err != nil {
		return err
	}
	return copied.proveReply(k)
}

// emptyOthers empties the programs that are not proven.
func emptyOthers(spec *ebpf.CollectionSpec, k programKind) {
	for name, p := range spec.Programs {
		if name != k.name() {
			empty(p)
		}
	}
}

func sameProgram(a, b *ebpf.Program) error {
	ai, err := a.Info()
	if err != nil {
		return fmt.Errorf("look at program: %w", err)
	}
	bi, err := b.Info()
	if err != nil {
		return fmt.Errorf("look at program: %w", err)
	}
	if ai.Tag != bi.Tag {
		return fmt.Errorf("program %s has tag %s, expected %s: %w", ai.Name, ai.Tag, bi.Tag, ErrWrongReply)
	}
	return nil
}

func (o *object) proveReply(k programKind) error {
	var mono unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	estimate := stamp.NewErrorEstimate(true, stamp.NTP, int64(time.Millisecond))
	err := errors.Join(
		o.setPolicy(&Policy{
			Ports: []uint16{stamp.Port}, Allow: []netip.Prefix{netip.PrefixFrom(proofSrc, 32)},
			PeerRate: 1, StrangerRate: 1, SessionsPerPeer: 1,
		}),
		o.setLocal([]netip.Addr{proofDst}),
		o.setInterface(proofIfindex, []net.HardwareAddr{proofMAC}, false),
		o.setClock(ClockState{Estimate: estimate, WallMinusMono: time.Duration(time.Now().UnixNano() - mono.Nano())}),
		o.setLease(mono.Nano()+int64(time.Minute)),
	)
	if err != nil {
		return err
	}
	request := proofRequest()
	run := ebpf.RunOptions{Data: request, DataOut: make([]byte, len(request)+256)}
	if _, err := o.program(k).Run(&run); err != nil {
		return fmt.Errorf("run program: %w", err)
	}
	reply := run.DataOut
	c, err := o.counters()
	if err != nil {
		return err
	}
	if (c[Ending{"replied", "reply"}]) != 1 {
		return fmt.Errorf("program ended with %v: %w", c, ErrWrongReply)
	}
	return compareProof(request, reply, estimate)
}

const (
	proofL3 = 14
	proofL4 = proofL3 + 20
	proofAt = proofL4 + 8
)

// proofRequest is a frame with the agent's own probe: Class of Service and Direct
// Measurement behind the base packet.
func proofRequest() []byte {
	n := stamp.BaseLen + stamp.ClassOfServiceLen + stamp.DirectMeasurementLen
	b := make([]byte, proofAt+n)
	be := binary.BigEndian
	copy(b, proofMAC)
	copy(b[6:], net.HardwareAddr{2, 0, 0, 0, 0, 2})
	be.PutUint16(b[12:], 0x0800)

	ip := b[proofL3:]
	ip[0], ip[8], ip[9] = 0x45, proofTTL, unix.IPPROTO_UDP
	be.PutUint16(ip[2:], uint16(len(ip)))
	be.PutUint16(ip[6:], 0x4000)
	copy(ip[12:], proofSrc.AsSlice())
	copy(ip[16:], proofDst.AsSlice())
	be.PutUint16(ip[10:], ^sum16(0, ip[:20]))

	udp := b[proofL4:]
	be.PutUint16(udp[0:], 20000)
	be.PutUint16(udp[2:], stamp.Port)
	be.PutUint16(udp[4:], uint16(len(udp)))
	(&stamp.SenderPacket{Seq: 7, Timestamp: 1 << 60, ErrorEstimate: 1, SSID: 1}).Put(b[proofAt:])
	at := proofAt + stamp.BaseLen
	at += stamp.PutClassOfService(b[at:], 46)
	stamp.PutDirectMeasurement(b[at:], 8)
	be.PutUint16(udp[6:], ^proofSum(b))
	return b
}

// proofSum is of the UDP datagram with its pseudo-header: 0xffff if it is right.
func proofSum(b []byte) uint16 {
	sum := uint32(unix.IPPROTO_UDP) + uint32(len(b)-proofL4)
	return sum16(uint32(sum16(sum, b[proofL3+12:proofL4])), b[proofL4:])
}

func compareProof(request, reply []byte, estimate stamp.ErrorEstimate) error {
	if len(reply) != len(request) {
		return fmt.Errorf("%d octets for %d: %w", len(reply), len(request), ErrWrongReply)
	}
	be := binary.BigEndian
	want := bytes.Clone(request)
	copy(want, request[6:12])
	copy(want[6:], request[:6])
	copy(want[proofL3+12:], proofDst.AsSlice())
	copy(want[proofL3+16:], proofSrc.AsSlice())
	be.PutUint16(want[proofL4:], stamp.Port)
	be.PutUint16(want[proofL4+2:], 20000)
	t3, t2 := be.Uint64(reply[proofAt+4:]), be.Uint64(reply[proofAt+16:])
	res, err := stamp.Reflect(want[proofAt:], &stamp.Arrival{
		Receive: stamp.Timestamp(t2), ErrorEstimate: estimate, TTL: proofTTL, Rx: 1, Tx: 1, AllowDSCP: stamp.AllDSCP,
	}, nil)
	if err != nil {
		return err
	}
	res.Finish(want[proofAt:], stamp.Timestamp(t3), nil)
	ip := want[proofL3:]
	ip[1], ip[8] = res.DSCP<<2, 255
	be.PutUint16(ip[10:], 0)
	be.PutUint16(ip[10:], ^sum16(0, ip[:20]))
	be.PutUint16(want[proofL4+6:], 0)
	be.PutUint16(want[proofL4+6:], ^proofSum(want))
	switch {
	case t2 == 0 || t3 < t2:
		return fmt.Errorf("T2 %#x, T3 %#x: %w", t2, t3, ErrWrongReply)
	case proofSum(reply) != 0xffff:
		return fmt.Errorf("UDP checksum: %w", ErrWrongReply)
	}
	copy(want[proofL4+6:proofL4+8], reply[proofL4+6:]) // 0 and 0xffff are the same sum
	for i := range want {
		if want[i] != reply[i] {
			return fmt.Errorf("octet %d is %#x, expected %#x: %w", i, reply[i], want[i], ErrWrongReply)
		}
	}
	return nil
}

// sum16 is the sum of RFC 1071 over b, an even number of octets, and a start.
func sum16(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum)
}

// unpinned gives the maps no names in the file system.
func unpinned(spec *ebpf.CollectionSpec) {
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
}
