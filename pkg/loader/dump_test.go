//go:build linux

package loader

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

func TestInterruptedDumpIsAskedForAgain(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		fails []error
		want  error
		asked int
	}{
		{"whole", nil, nil, 1},
		{"interrupted-twice", []error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted}, nil, 3},
		{"always-interrupted", []error{
			netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted,
			netlink.ErrDumpInterrupted,
		}, netlink.ErrDumpInterrupted, dumpTries},
		{"broken", []error{broken}, broken, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				got, err := whole("things", func() ([]int, error) {
					asked++
					if asked <= len(c.fails) {
						return []int{asked}, c.fails[asked-1]
					}
					return []int{asked}, nil
				})
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.asked, asked)
				require.Equal(t, []int{asked}, got, "the last answer")
			})
		})
	}
}
