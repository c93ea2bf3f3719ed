package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
)

// The tables in the kernel grow with a reload as soon as what is configured does not fit, and do not shrink.
func TestKernelRoomIsThatOfTheStart(t *testing.T) {
	of := func(targets int) *config.Config {
		c := config.Default()
		c.Targets, c.Probing.Ports = make([]probe.Target, targets), 8
		return c
	}
	k := &kernelPart{room: kernelProbes(of(10), nil)}
	require.True(t, k.fits(of(0)))
	require.True(t, k.fits(of(20)), "tables are of a least size")
	require.False(t, k.fits(of(5000)))
	k.room = kernelProbes(of(5000), nil)
	require.True(t, k.fits(of(5000)))
	require.True(t, k.fits(of(10)))
	require.True(t, (*kernelPart)(nil).fits(of(5000)), "no tables, nothing to grow")
}
