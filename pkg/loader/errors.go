package loader

import (
	"errors"
	"fmt"
)

// What keeps the reflector out of the kernel, on this host or on one interface.
// The error that wraps one says what to do about it.
var (
	ErrPermission   = errors.New("not permitted")
	ErrNotSupported = errors.New("not supported by this kernel")
	// ErrPinFolder is a pin folder that is no bpffs or cannot be made.
	ErrPinFolder = errors.New("pin folder cannot be used")
	// ErrPinsHeld is a pin folder that another agent uses.
	ErrPinsHeld = errors.New("pin folder is in use by another agent")
	// ErrWrongReply says that the loaded program does not do what it should.
	ErrWrongReply = errors.New("wrong reply")

	// ErrStep is a step that was asked for by name and cannot be had.
	ErrStep = errors.New("step of the datapath cannot be had")
	// ErrNoInterface is an interface that does not exist, or no longer.
	ErrNoInterface = errors.New("no such interface")
	// ErrNoPlace is an interface on which the programs have no use.
	ErrNoPlace = errors.New("no place for the programs")
	// ErrForeign is an interface on which the program of somebody else stands in the way.
	ErrForeign = errors.New("another program is there")
	// ErrResetsLink is what is not done without datapath.reset_link, because it would take the link down.
	ErrResetsLink = errors.New("would reset the link")
	// ErrLost is a program that is no longer where it was attached.
	ErrLost = errors.New("program is no longer attached")
)

// because is an error that reads as one sentence, made for whoever runs the host,
// and is still one of the above.
type because struct {
	text string
	is   error
}

func (b because) Error() string { return b.text }
func (b because) Unwrap() error { return b.is }

func becausef(is error, format string, args ...any) error {
	return because{fmt.Sprintf(format, args...), is}
}
