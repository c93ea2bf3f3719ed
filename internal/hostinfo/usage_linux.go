package hostinfo

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what this process takes of its host.
type Usage struct {
	CPU      time.Duration // in user and kernel mode, of all threads, since the start
	Resident int64         // octets of memory now; 0: unknown
}

// ReadUsage asks the kernel.
func ReadUsage() (Usage, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return Usage{}, fmt.Errorf("read resource usage: %w", err)
	}
	u := Usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano())}
	// proc_pid_statm(5): the size and the resident part, in pages.
	if f := strings.Fields(readLine("/proc/self/statm")); len(f) > 1 {
		if pages, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			u.Resident = pages * int64(os.Getpagesize())
		}
	}
	return u, nil
}
