//go:build linux

package loader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool is the ioctl of that name, the one way to a driver's statistics and features on every kernel.
type ethtool struct{ fd int }

// String sets of the kernel, as many octets a name.
const (
	statNames    = 1 // ETH_SS_STATS
	featureNames = 4 // ETH_SS_FEATURES
	nameLen      = 32
)

func openEthtool() (*ethtool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open ethtool socket: %w", err)
	}
	return &ethtool{fd}, nil
}

func (e *ethtool) close() { _ = unix.Close(e.fd) }

// driver returns the driver's name, or nothing for a device that has none.
func (e *ethtool) driver(ifname string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, ifname)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}

func (e *ethtool) ioctl(ifname string, b []byte) error {
	var req struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], ifname)
	req.data = unsafe.Pointer(&b[0])
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}

// names returns a set of strings.
func (e *ethtool) names(ifname string, set uint32) ([]string, error) {
	info := make([]byte, 4+4+8+4) // cmd, reserved, mask of sets, number
	binary.NativeEndian.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	binary.NativeEndian.PutUint64(info[8:], 1<<set)
	if err := e.ioctl(ifname, info); err != nil {
		return nil, fmt.Errorf("count names of %s: %w", ifname, err)
	}
	if binary.NativeEndian.Uint64(info[8:]) == 0 {
		return nil, nil // it has no such set
	}
	n := binary.NativeEndian.Uint32(info[16:])
	b := make([]byte, 12+room(n)*nameLen) // cmd, set, number, names
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(b[4:], set)
	binary.NativeEndian.PutUint32(b[8:], n)
	if err := e.ioctl(ifname, b); err != nil {
		return nil, fmt.Errorf("read names of %s: %w", ifname, err)
	}
	var names []string
	for b := b[12:]; uint32(len(names)) < n; b = b[nameLen:] {
		name, _, _ := bytes.Cut(b[:nameLen], []byte{0})
		names = append(names, strings.TrimSpace(string(name)))
	}
	return names, nil
}

// room leaves space for what a driver that gained queues since it was asked would write beyond the number it gave.
func room(n uint32) int { return 2*int(n) + 256 }

// stats returns the driver's own counters.
func (e *ethtool) stats(ifname string) (map[string]uint64, error) {
	names, err := e.names(ifname, statNames)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	n := uint32(len(names))
	b := make([]byte, 8+room(n)*8) // cmd, number, values
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTATS)
	binary.NativeEndian.PutUint32(b[4:], n)
	if err := e.ioctl(ifname, b); err != nil {
		return nil, fmt.Errorf("read statistics of %s: %w", ifname, err)
	}
	if binary.NativeEndian.Uint32(b[4:]) != n {
		return nil, fmt.Errorf("read statistics of %s: they changed meanwhile: %w", ifname, unix.EAGAIN)
	}
	stats := make(map[string]uint64, n)
	for i, name := range names {
		stats[name] += binary.NativeEndian.Uint64(b[8+8*i:])
	}
	return stats, nil
}

// features returns which offloads are on, by the names that `ethtool -k` abbreviates: rx-lro, rx-gro-hw,
// rx-vlan-hw-parse.
func (e *ethtool) features(ifname string) (map[string]bool, error) {
	names, err := e.names(ifname, featureNames)
	if err != nil {
		return nil, err
	}
	const block = 16 // available, requested, active, never changed: 32 features each
	n := (len(names) + 31) / 32
	b := make([]byte, 8+n*block)
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GFEATURES)
	binary.NativeEndian.PutUint32(b[4:], uint32(n))
	if err := e.ioctl(ifname, b); err != nil {
		return nil, fmt.Errorf("read features of %s: %w", ifname, err)
	}
	on := make(map[string]bool, len(names))
	for i, name := range names {
		active := binary.NativeEndian.Uint32(b[8+i/32*block+8:])
		on[name] = active>>(i%32)&1 != 0
	}
	return on, nil
}
