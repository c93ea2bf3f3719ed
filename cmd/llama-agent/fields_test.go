package main

import (
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/pkg/collector"
	"github.com/llama-agent/llama-agent/pkg/reflector"
)

// Every counter that the agent says of itself stands in docs/fields.md, and
// nothing else does.
func TestAgentFieldsAreDocumented(t *testing.T) {
	cfg := config.Default()
	a := &agent{log: slog.New(slog.DiscardHandler)}
	require.NoError(t, a.beginSinks(cfg))
	defer func() { require.NoError(t, a.endSinks()) }()
	o := collectorOptions(cfg)
	o.Emit = func(*probe.Window) {}
	var err error
	a.collector, err = collector.New(o)
	require.NoError(t, err)
	r := reflectorOptions(cfg)
	r.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	a.reflector, err = reflector.New(r, a.log)
	require.NoError(t, err)
	defer func() { require.NoError(t, a.reflector.Close()) }()

	a.own.loaded(&config.Config{Hash: 1})
	var late probe.Hist
	late.Record(1)
	for range 2 {
		a.own.window(&probe.Window{Paths: []probe.Path{{SendLate: late}}})
	}

	doc, err := os.ReadFile("../../docs/fields.md")
	require.NoError(t, err)
	const names = "(?:windows|(?:targets|collector|reflector|probes|process|config|clock)_[a-z0-9_]+)"
	row := regexp.MustCompile("(?m)^\\| `(" + names + ")` \\|")
	var documented, said []string
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	ours := regexp.MustCompile("^" + names + "$")
	for _, f := range a.fields(a.fanout) {
		if ours.MatchString(f.Name) {
			said = append(said, f.Name)
		}
	}
	require.ElementsMatch(t, said, documented)
}

// The same of the kernel datapath, which this host may not have.
func TestKernelFieldsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/fields.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `kernel_([a-z0-9_]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	said := slices.Collect(maps.Keys(kernelCounters(nil, nil)))
	require.ElementsMatch(t, said, documented)
}
