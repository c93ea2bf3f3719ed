package loader

import "errors"

// What keeps the reflector out of the kernel. The error that wraps one says
// what to do about it.
var (
	ErrNotBPFFS     = errors.New("not on a BPF file system")
	ErrPermission   = errors.New("not permitted")
	ErrNotSupported = errors.New("not supported by this kernel")
	// ErrWrongReply says that the loaded program does not do what it should.
	ErrWrongReply = errors.New("wrong reply")
)
