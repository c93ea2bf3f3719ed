//go:build !linux

package reflector

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
)

// Reflector needs Linux; elsewhere New says so.
type Reflector struct{}

// New returns an error that wraps errors.ErrUnsupported.
func New(Options, *slog.Logger) (*Reflector, error) {
	return nil, errors.Join(errors.New("run reflector: needs linux"), errors.ErrUnsupported)
}

// Addrs are the addresses that are bound.
func (*Reflector) Addrs() []netip.AddrPort { return nil }

// Update replaces the policy.
func (*Reflector) Update(Policy) error { return errors.ErrUnsupported }

// Run answers until ctx ends.
func (*Reflector) Run(context.Context) error { return errors.ErrUnsupported }

// Close ends a Reflector that Run was never called on.
func (*Reflector) Close() error { return nil }

// Stats is the sum over the workers.
func (*Reflector) Stats() Stats { return Stats{} }
