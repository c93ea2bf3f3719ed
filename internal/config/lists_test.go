package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listed loads a configuration beside these lists, whose names say where they are.
func listed(t *testing.T, main string, lists map[string]string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "targets.d"), 0o700))
	for name, text := range lists {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "targets.d", name), []byte(text), 0o600))
	}
	file := filepath.Join(dir, "agent.yaml")
	require.NoError(t, os.WriteFile(file, []byte(main), 0o600))
	return Load(file)
}

const fromLists = "targets_from: {files: [targets.d/*.yaml, targets.d/*.json, targets.d/a*]}\n"

func TestListsAddTargets(t *testing.T) {
	lists := map[string]string{
		"b.json":     `{"b1": {"address": "10.0.0.2", "rack": "02"}}`,
		"a.yaml":     "a1: {address: 10.0.0.1, rack: 01, paths: 3, key: k}\na2: {address: 10.0.0.3}\n",
		"empty.yaml": "# none yet\n",
	}
	main := "reflector: {keys: {k: {hex: 000102030405060708090a0b0c0d0e0f}}}\nprobing: {paths: [{count: 8}]}\ntargets: {s: {address: 10.0.0.9}}\n" + fromLists
	c, err := listed(t, main, lists)
	require.NoError(t, err)
	var got []string
	for _, x := range c.Targets {
		got = append(got, fmt.Sprint(x.Name, " ", x.Address, " ", x.Tags, " ", x.Paths, " ", len(x.Key)))
	}
	require.Equal(t, []string{"s 10.0.0.9 map[] 8 0", "a1 10.0.0.1 map[rack:01] 3 16", "a2 10.0.0.3 map[] 8 0", "b1 10.0.0.2 map[rack:02] 8 0"}, got)
	require.Equal(t, 3, c.TargetsFrom.Listed)

	lists["empty.yaml"] = "# none at all\n"
	other, err := listed(t, main, lists)
	require.NoError(t, err)
	require.NotEqual(t, c.Hash, other.Hash, "lists are part of the configuration")
}

// What is wrong is told by the list's own lines, and nothing is loaded.
func TestWrongLists(t *testing.T) {
	for name, c := range map[string]struct{ list, says string }{
		"HTML":            {"<!DOCTYPE html>\n<html><body>503: try later</body></html>\n", "x.yaml:2: not YAML"},
		"a list":          {"- a\n- b\n", "targets: a map, as {key: value}, is expected here, not a list"},
		"line break":      {"\"a\\nb\": {address: 10.0.0.1}\n", "holds a control character"},
		"no name":         {"\"\": {address: 10.0.0.1}\n", "the target's name is empty"},
		"long name":       {"? " + strings.Repeat("n", 10_000) + "\n: {address: 10.0.0.1}\n", "is longer than 256 octets"},
		"in targets":      {"\ns: {address: 10.0.0.1}\n", "x.yaml:2:1: targets.s: given already in"},
		"twice":           {"a: {address: 10.0.0.1}\na: {address: 10.0.0.2}\n", "given twice, first in line 1"},
		"one victim":      {"a: {address: 10.0.0.1}\nb: {address: 10.0.0.1}\n", `is the target "a" already`},
		"not allowed":     {"a: {address: 192.0.2.1}\n", "outside probing.allow"},
		"not UTF-8":       {"a: \xff\n", "octet 0xff is not UTF-8"},
		"deep nesting":    {strings.Repeat("[", 100_000), "not YAML"},
		"too many":        {manyTargets(maxListed + 1), "more than 100000 targets in lists"},
		"above max_rate":  {manyTargets(1000), "above max_rate"},
		"larger than all": {"#" + strings.Repeat("x", maxFile) + "\n", "larger than 16 MiB"},
		"alias bomb":      {"a: &a {b: [1,2,3,4,5,6,7,8,9]}\nc: &c {x: *a, y: *a}\nd: {x: *c, y: *c}\n", "a single value is expected here"},
	} {
		t.Run(name, func(t *testing.T) {
			main := "probing: {allow: [10.0.0.0/8]}\ntargets: {s: {address: 10.255.255.9}}\n" + fromLists
			_, err := listed(t, main, map[string]string{"x.yaml": c.list})
			require.ErrorContains(t, err, c.says)
			require.Less(t, len(err.Error()), 400_000)
		})
	}
}

func manyTargets(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "t%d: {address: 10.%d.%d.%d}\n", i, i>>16, i>>8&255, i&255)
	}
	return b.String()
}

// A pipe is no list, and nothing waits for it; nor is a pattern that names nothing an error.
func TestListsThatAreNone(t *testing.T) {
	_, err := listed(t, "targets_from: {files: [/dev/null]}\n", nil)
	require.ErrorContains(t, err, "/dev/null: is not a regular file")
	_, err = listed(t, "targets_from: {files: ['a[']}\n", nil)
	require.ErrorContains(t, err, "is not a pattern of paths")
	c, err := listed(t, "targets_from: {files: [nothing/*]}\n", nil)
	require.NoError(t, err)
	require.Contains(t, warningsText(c), "targets_from.files: no file is named")
}

func TestShrunk(t *testing.T) {
	with := func(n int, most float64, files ...string) *Config {
		return &Config{TargetsFrom: TargetsFrom{Files: files, MaxShrink: most, Listed: n}}
	}
	old := with(10, 0.5, "f")
	for _, c := range []struct {
		new  *Config
		held bool
	}{
		{with(5, 0.5, "f"), false},
		{with(4, 0.5, "f"), true},
		{with(0, 0.5, "f"), true},
		{with(0, 1, "f"), false},
		{with(9, 0, "f"), true},
		{with(20, 0, "f"), false},
		{with(0, 0.5), false},
	} {
		require.Equal(t, c.held, c.new.Shrunk(old) != nil, "%+v", c.new.TargetsFrom)
	}
	require.NoError(t, with(0, 0, "f").Shrunk(&Config{}))
}
