package reflector

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/llama-agent/llama-agent/internal/sock"
)

// listenAddr is an address to bind, after the wildcard has been spelled out.
type listenAddr struct {
	netip.AddrPort
	optional bool // [::] of a wildcard: a host may have no IPv6
	legacy   bool // for probes of Dropbox's LLAMA
}

func expand(listen []netip.AddrPort, legacy bool) []listenAddr {
	var out []listenAddr
	for _, a := range listen {
		if a.Addr().IsValid() {
			out = append(out, listenAddr{AddrPort: netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), legacy: legacy})
			continue
		}
		out = append(out,
			listenAddr{AddrPort: netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()), legacy: legacy},
			listenAddr{AddrPort: netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()), optional: true, legacy: legacy})
	}
	slices.SortStableFunc(out, func(a, b listenAddr) int { return a.Compare(b.AddrPort) })
	return slices.CompactFunc(out, func(a, b listenAddr) bool { return a.AddrPort == b.AddrPort && a.Port() != 0 })
}

// probe finds out whether another socket has the port. With SO_REUSEPORT alone
// a second agent of the same user would bind as well, and take half the flows.
// All addresses are tried before the first is opened for good, since a wildcard
// and an address of the same port may both be wanted.
func (r *Reflector) probe(addrs []listenAddr) error {
	for _, a := range addrs {
		if a.Port() == 0 {
			continue
		}
		fd, err := sock.Open(sock.Options{Bind: a.AddrPort, Device: r.shared.options.Device})
		if err == nil {
			err = unix.Close(fd)
		}
		if err != nil && !(a.optional && noFamily(err)) {
			return bindError(a.AddrPort, err)
		}
	}
	return nil
}

// open binds the workers' sockets. On an error the caller closes what is open.
func (r *Reflector) open(addrs []listenAddr) error {
	chosen := uint16(0) // by the kernel, for 0.0.0.0:0 and [::]:0 of one wildcard
	for _, a := range addrs {
		bind := a.AddrPort
		if bind.Port() == 0 && a.optional {
			bind = netip.AddrPortFrom(bind.Addr(), chosen)
		}
		for range r.shared.options.Workers {
			w, err := newWorker(r.shared, bind, a.legacy)
			if err != nil {
				if a.optional && noFamily(err) {
					break
				}
				return bindError(bind, err)
			}
			r.workers = append(r.workers, w)
			bind = w.bind // the port is known now
		}
		if n := len(r.workers); n > 0 && r.workers[n-1].bind == bind {
			r.addrs = append(r.addrs, bind)
		}
		if a.Addr() == netip.IPv4Unspecified() {
			chosen = bind.Port()
		}
	}
	return nil
}

func bindError(a netip.AddrPort, err error) error {
	kind := error(nil)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		kind = ErrInUse
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		kind = ErrPermission
	case errors.Is(err, unix.EADDRNOTAVAIL), noFamily(err):
		kind = ErrNoAddress
	default:
		return fmt.Errorf("listen on udp %s: %w", a, err)
	}
	return fmt.Errorf("listen on udp %s: %w: %w", a, kind, err)
}

// noFamily tells that the host has no IPv6: left out of the kernel or disabled.
func noFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// localPort reads the port that the kernel chose.
func localPort(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("read socket address: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return uint16(sa.Port), nil
	}
	return 0, nil
}
