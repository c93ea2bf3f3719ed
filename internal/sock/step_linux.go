package sock

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A StepWatch tells when CLOCK_REALTIME was set, not slewed (TFD_TIMER_CANCEL_ON_SET,
// Linux 3.0). It costs nothing while that does not happen.
type StepWatch struct {
	poll *Pollable
}

// NewStepWatch begins to watch.
func NewStepWatch() (*StepWatch, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	if err := armCancel(uintptr(fd)); err != 0 {
		return nil, errors.Join(fmt.Errorf("set timer: %w", err), unix.Close(fd))
	}
	p, err := NewPollable(fd, "clock watch")
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &StepWatch{poll: p}, nil
}

// armCancel sets the timer to a time that never comes. That it was cancelled at
// once does not matter: then Wait tells of it, or just has.
func armCancel(fd uintptr) unix.Errno {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)}
	flags := uintptr(unix.TFD_TIMER_ABSTIME | unix.TFD_TIMER_CANCEL_ON_SET)
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, flags, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno == unix.ECANCELED {
		return 0
	}
	return errno
}

// Wait returns nil when the clock was set since the last call, or an error once
// the watch is closed.
func (w *StepWatch) Wait() error {
	var errno unix.Errno
	err := w.poll.Read(func(fd uintptr) bool {
		var n uint64
		_, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&n)), 8)
		switch e {
		case unix.EAGAIN, unix.EINTR:
			return false
		case unix.ECANCELED:
			errno = armCancel(fd)
			return true
		}
		errno = e
		return true
	})
	if err != nil {
		return fmt.Errorf("wait for a step of the clock: %w", err)
	}
	if errno != 0 {
		return fmt.Errorf("wait for a step of the clock: %w", errno)
	}
	return nil
}

// Close ends the watch, and a Wait that is under way.
func (w *StepWatch) Close() error { return w.poll.Close() }
