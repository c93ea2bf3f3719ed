//go:build linux

package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

// maxHosts is what one octet of the addresses can number.
const maxHosts = 254

// hostName keeps a port's name ("p-" and the host's) within IFNAMSIZ.
var hostName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,12}$`)

// Options describe a lab.
type Options struct {
	Hosts    int      // hosts named h1 … hN; used if Names is empty
	Names    []string // names of the hosts, at most 13 characters of a-z, 0-9 and "-"
	IPv4Only bool     // no IPv6 addresses, and IPv6 disabled
	MTU      int      // octets, of every link; 1500 if 0
}

// Lab is a set of hosts and the fabric between them.
type Lab struct {
	id     string
	opts   Options
	fabric *Fabric
	hosts  []*Host

	closeOnce sync.Once
	closeErr  error
}

// New builds a lab. Remains of labs whose process is dead are swept first.
func New(o Options) (_ *Lab, err error) {
	names, err := o.names()
	if err != nil {
		return nil, err
	}
	if err := Sweep(); err != nil {
		return nil, err
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	l := &Lab{id: labPrefix() + hex.EncodeToString(random[:]), opts: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.fabric, err = newFabric(l); err != nil {
		return nil, err
	}
	l.hosts = make([]*Host, len(names))
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() (err error) {
			l.hosts[i], err = newHost(l, i+1, name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return l, nil
}

// ForTest builds a lab of hosts h1 … hN that ends with the test. It skips the test where namespaces
// cannot be had, and fails it if skips are not allowed (see Require).
func ForTest(t testing.TB, hosts int) *Lab {
	t.Helper()
	return WithOptions(t, Options{Hosts: hosts})
}

// WithOptions is ForTest with more to choose.
func WithOptions(t testing.TB, o Options) *Lab {
	t.Helper()
	Require(t, Namespaces)
	l, err := New(o)
	if err != nil {
		t.Fatalf("build lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}

func (o Options) names() ([]string, error) {
	names := o.Names
	if len(names) == 0 {
		for i := range o.Hosts {
			names = append(names, fmt.Sprintf("h%d", i+1))
		}
	}
	if len(names) < 1 || len(names) > maxHosts {
		return nil, fmt.Errorf("build lab: %d hosts, want 1 to %d", len(names), maxHosts)
	}
	seen := map[string]bool{fabricName: true}
	for _, n := range names {
		if !hostName.MatchString(n) || seen[n] {
			return nil, fmt.Errorf("build lab: host name %q is invalid or taken", n)
		}
		seen[n] = true
	}
	return names, nil
}

// Close removes everything that the lab made, and kills the processes still running inside.
// The kernel frees the namespaces and their links some 50 ms later, from a work queue, once no socket that
// was opened inside is left. Close may be called again, and after a New that failed half-way.
func (l *Lab) Close() error {
	l.closeOnce.Do(func() {
		var errs []error
		if l.fabric != nil {
			l.fabric.stopTaps()
		}
		for _, h := range l.hosts {
			if h != nil {
				errs = append(errs, h.close())
			}
		}
		if l.fabric != nil {
			errs = append(errs, l.fabric.ns.close())
		}
		l.closeErr = errors.Join(errs...)
	})
	return l.closeErr
}

// Host returns host i, counted from 1 as in its name and its addresses.
func (l *Lab) Host(i int) *Host { return l.hosts[i-1] }

// Hosts returns all hosts in order.
func (l *Lab) Hosts() []*Host { return append([]*Host(nil), l.hosts...) }

// Fabric returns the namespace between the hosts.
func (l *Lab) Fabric() *Fabric { return l.fabric }
