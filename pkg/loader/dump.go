//go:build linux

package loader

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	dumpTries = 5
	dumpPause = 5 * time.Millisecond // a change is over by then; longer after each try
)

// whole asks netlink again where a change in the middle interrupted its answer: that may
// lack what is there, which must not pass for gone. Where changes never end it is an
// error that wraps netlink.ErrDumpInterrupted, and the answer is the last.
func whole[T any](what string, ask func() (T, error)) (answer T, err error) {
	for try := range dumpTries {
		if try > 0 {
			time.Sleep(dumpPause << try)
		}
		if answer, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("list %s: %w", what, err)
	}
	return answer, err
}

func listLinks() ([]netlink.Link, error) { return whole("interfaces", netlink.LinkList) }
