//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// noSkip is the environment variable by which CI turns every skip into a failure, so that skips cannot rot.
const noSkip = "LLAMA_TEST_NOSKIP"

// Capability is something a test needs of the machine.
type Capability struct {
	name  string
	probe func() error
}

// The capabilities that Require knows.
var (
	// Root is the effective user id 0.
	Root = Capability{"root", func() error {
		if uid := os.Geteuid(); uid != 0 {
			return fmt.Errorf("effective user id is %d", uid)
		}
		return nil
	}}
	// Namespaces is what New needs: root, network namespaces, veth, nsenter.
	Namespaces = Capability{"network namespaces", probeNamespaces}
	// Nftables is what the fabric's faults need.
	Nftables = Capability{"nftables", func() error { return probeFabric((*Fabric).probeNftables) }}
	// Duplication is nftables' dup expression, which Fabric.Duplicate needs.
	Duplication = Capability{"nftables dup", func() error { return probeFabric((*Fabric).probeDup) }}
	// TokenBucket is the tbf queueing discipline, which Fabric.Rate needs.
	TokenBucket = Capability{"tbf", func() error {
		return probeFabric(func(f *Fabric) error {
			_, err := f.Rate(f.lab.Host(1), 1e9, 1<<16, 1<<16)
			return err
		})
	}}
)

// Require skips the test if the machine lacks a capability, or fails it if LLAMA_TEST_NOSKIP is set.
func Require(t testing.TB, caps ...Capability) {
	t.Helper()
	for _, c := range caps {
		err := c.probe()
		switch {
		case err == nil:
		case os.Getenv(noSkip) != "":
			t.Fatalf("needs %s, and %s is set: %v", c.name, noSkip, err)
		default:
			t.Skipf("needs %s: %v", c.name, err)
		}
	}
}

func probeNamespaces() error {
	if err := Root.probe(); err != nil {
		return err
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		return err
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "probe0"
		veth := netlink.NewVeth(attrs)
		veth.PeerName = "probe1"
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		if err := nl.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth: %w", err)
		}
		return nil
	})
}

// probeFabric tries something in a lab of one host.
func probeFabric(try func(*Fabric) error) error {
	l, err := New(Options{Hosts: 1})
	if err != nil {
		return err
	}
	defer l.Close()
	return try(l.fabric)
}
