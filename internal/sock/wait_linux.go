package sock

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Waiting in a system call of its own would cost a Go program some 300 µs of CPU
// each time it was idle before: the runtime's monitor thread wakes up with every
// call that may block, and naps its way back to sleep. What waits here waits in
// the runtime's own poller instead, and all other calls are raw ones.

// A Pollable is a descriptor that the runtime's poller watches.
type Pollable struct {
	file *os.File
	raw  syscall.RawConn
}

// NewPollable makes fd non-blocking and takes it over: Close closes it.
func NewPollable(fd int, name string) (*Pollable, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make %s non-blocking: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", name, err)
	}
	return &Pollable{file: f, raw: raw}, nil
}

// Read calls try until it returns true, and waits in between until the descriptor
// may have something new. It returns an error once the descriptor is closed.
func (p *Pollable) Read(try func(fd uintptr) bool) error { return p.raw.Read(try) }

// Close closes the descriptor and ends a Read that waits.
func (p *Pollable) Close() error { return p.file.Close() }

// A Timer sleeps to an absolute time, without the millisecond's grain of the
// runtime's timers. It is not safe for concurrent use.
type Timer struct {
	poll  *Pollable
	try   func(fd uintptr) bool // step, bound once: binding it allocates
	until int64                 // monotonic ns; 0 once it is set in the kernel
	errno unix.Errno
}

// NewTimer opens a timer on CLOCK_MONOTONIC.
func NewTimer() (*Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	p, err := NewPollable(fd, "timer")
	if err != nil {
		return nil, err
	}
	t := &Timer{poll: p}
	t.try = t.step
	return t, nil
}

// SleepUntil sleeps until CLOCK_MONOTONIC reads mono (ns).
func (t *Timer) SleepUntil(mono int64) error {
	t.until, t.errno = max(mono, 1), 0 // 0 would disarm it
	if err := t.poll.Read(t.try); err != nil {
		return fmt.Errorf("wait for timer: %w", err)
	}
	if t.errno != 0 {
		return fmt.Errorf("set timer: %w", t.errno)
	}
	return nil
}

// step sets the timer when it is first called, where an expiry cannot be missed
// any more, and then says whether it has expired.
func (t *Timer) step(fd uintptr) bool {
	if t.until != 0 {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(t.until)}
		t.until = 0
		_, _, t.errno = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, unix.TFD_TIMER_ABSTIME, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
		return t.errno != 0
	}
	var n uint64
	_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&n)), 8)
	return errno != unix.EAGAIN
}

// Close releases the timer.
func (t *Timer) Close() error { return t.poll.Close() }

// EpollNow returns what is ready, without waiting.
func EpollNow(epoll int, events []unix.EpollEvent) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
