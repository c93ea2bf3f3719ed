package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Both old forms, each with what has no counterpart; the result is a configuration of ours.
func TestImport(t *testing.T) {
	for _, name := range []string{"short", "full", "odd_window", "no_tests"} {
		t.Run(name, func(t *testing.T) {
			old, err := os.ReadFile(filepath.Join("testdata", "import", name+".yaml"))
			require.NoError(t, err)
			port := uint16(DefaultPort)
			if name == "no_tests" {
				port = 8620
			}
			got, err := Import("old.yaml", old, port)
			require.NoError(t, err)
			golden(t, filepath.Join("import", name+".golden.yaml"), string(got))
			c, err := parse("new.yaml", got, testEnv())
			require.NoError(t, err, "%s", got)
			require.Empty(t, c.Warnings)
			require.True(t, c.Reflector.Legacy)
			for _, target := range c.Targets {
				require.Equal(t, port, target.Port)
			}
			require.Equal(t, port, c.Reflector.Listen[0].Port())
			// What is ours already is no old form.
			_, err = Import("new.yaml", got, port)
			require.Error(t, err)
		})
	}
}

// Mistakes are told with their line, all at once.
func TestImportMistakes(t *testing.T) {
	const head = "ports: {p: {tos: 0, timeout: 1000}}\nport_groups: {g: [{port: p, count: 4}]}\nrate_limits: {r: {cps: 4}}\ntests: [{targets: t, port_group: g, rate_limit: r}]\n"
	for name, c := range map[string]struct{ old, want string }{
		"empty":          {"", "old.yaml: is empty"},
		"list":           {"- a", "old.yaml:1:1: a map, as {key: value}, is expected here, not a list"},
		"not YAML":       {"a: [", "old.yaml:1: not YAML: did not find expected node content"},
		"HTML":           {"<html><body>Moved</body></html>", "old.yaml:1:1: a map, as {key: value}, is expected here, not a single value"},
		"no host":        {"10.0.0.1:\n  a: b\n\"no host\":\n  a: b", "old.yaml:3:1: targets: \"no host\" is neither an IP address nor the name of a host"},
		"not tags":       {"10.0.0.1: 5", "old.yaml:1:11: \"10.0.0.1\": a map, as {key: value}, is expected here, not a single value"},
		"unknown group":  {strings.Replace(head, "port_group: g", "port_group: h", 1) + "targets: {t: [{ip: 10.0.0.1}]}", "old.yaml:4:9: tests[0]: unknown port_group \"h\"; did you mean g?"},
		"unknown set":    {head + "targets: {u: [{ip: 10.0.0.1}]}", "old.yaml:4:9: tests[0]: unknown set of targets \"t\"; did you mean u?"},
		"unknown port":   {strings.Replace(head, "port: p", "port: qq", 1) + "targets: {t: [{ip: 10.0.0.1}]}", "old.yaml:2:19: port_groups.g[0]: unknown port \"qq\"; known here: p"},
		"no ip":          {head + "targets: {t: [{port: 8100}]}", "old.yaml:5:15: targets.t[0]: has no ip"},
		"several":        {"summarization: {interval: x}\nports: {p: {tos: 256}}\ntargets: {t: [{ip: 224.0.0.1}]}", "old.yaml:1:27: summarization.interval: \"x\" is not a whole number from 1 to 86400\nold.yaml:2:18: ports.p.tos: 256 is not from 0 to 255\nold.yaml:3:15: targets: 224.0.0.1 is not the address of one host"},
		"too fast":       {strings.Replace(head, "cps: 4", "cps: 1e9", 1) + "targets: {t: [{ip: 10.0.0.1}]}", "old.yaml:3:24: rate_limits.r.cps: \"1e9\" is not a number from 0.0002777777777777778 to 1000"},
		"an address bad": {"api: {bind: nonsense}\n" + head + "targets: {t: [{ip: 10.0.0.1}]}", "old.yaml:1:13: api.bind: \"nonsense\" is not an address and port: write \":862\", \"10.0.0.1:862\" or \"[fd00::1]:862\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Import("old.yaml", []byte(c.old), DefaultPort)
			require.EqualError(t, err, c.want)
		})
	}
}
