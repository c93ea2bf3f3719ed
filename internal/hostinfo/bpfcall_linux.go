package hostinfo

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A BPFVerdict says whether bpf(2) is there for this process.
type BPFVerdict string

// The values of BPFVerdict.
const (
	BPFAllowed   BPFVerdict = "allowed"
	BPFForbidden BPFVerdict = "forbidden" // by a seccomp filter or a security module
	BPFAbsent    BPFVerdict = "absent"    // the kernel has no such call, or a filter says so
	BPFUnknown   BPFVerdict = "unknown"   // the kernel asks for CAP_BPF first
)

// TryBPF asks bpf(2) about the object behind an invalid descriptor: it changes
// nothing, and gets EBADFD from a kernel that would have answered. A seccomp
// filter may kill whoever calls it.
func TryBPF() error {
	attr := struct { // union bpf_attr, BPF_OBJ_GET_INFO_BY_FD
		fd, length uint32
		info       uint64
	}{fd: ^uint32(0)}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno == 0 {
		return nil
	}
	return errno
}

// BPF judges what TryBPF returned to this process.
func (p Process) BPF(err error) BPFVerdict {
	switch {
	case err == nil, errors.Is(err, unix.EBADFD), errors.Is(err, unix.EBADF), errors.Is(err, unix.EINVAL):
		return BPFAllowed
	case errors.Is(err, unix.ENOSYS):
		return BPFAbsent
	// Before 6.4 the kernel itself refuses every command to those without the capability.
	case errors.Is(err, unix.EPERM) && (p.UserNamespace || !p.Can(CapBPF)) && p.Seccomp != "filter":
		return BPFUnknown
	}
	return BPFForbidden
}
