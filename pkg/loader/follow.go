//go:build linux

package loader

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A follower hears of what happens to the interfaces and addresses of a network
// namespace. What it was is not asked: whoever is woken looks at how things are.
type follower struct{ socket *nl.NetlinkSocket }

// follow begins to listen in the namespace of the caller's thread. Nothing that
// happens from then on is missed.
func follow() (*follower, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("follow interfaces: %w", err)
	}
	return &follower{s}, nil
}

// run calls wake for each message until ctx ends.
func (f *follower) run(ctx context.Context, wake func()) error {
	stop := context.AfterFunc(ctx, f.close) // ends Receive
	defer stop()
	for {
		_, _, err := f.socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil, errors.Is(err, unix.ENOBUFS): // some were lost: that is news too
			wake()
		case errors.Is(err, unix.EINTR):
		default:
			return fmt.Errorf("follow interfaces: %w", err)
		}
	}
}

func (f *follower) close() { f.socket.Close() }
