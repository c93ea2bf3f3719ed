package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lists is a folder with a configuration, and lists beside it.
type lists struct {
	t    *testing.T
	file string
}

func newLists(t *testing.T) *lists {
	l := &lists{t, filepath.Join(t.TempDir(), "agent.yaml")}
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(l.file), "targets.d"), 0o700))
	return l
}

// write makes these the lists that there are; "" removes one.
func (l *lists) write(files map[string]string) {
	l.t.Helper()
	for name, text := range files {
		path := filepath.Join(filepath.Dir(l.file), "targets.d", name)
		if text == "" {
			require.NoError(l.t, os.Remove(path))
			continue
		}
		require.NoError(l.t, os.WriteFile(path, []byte(text), 0o600))
	}
}

func (l *lists) load(main string, before *Config) (*Config, error) {
	require.NoError(l.t, os.WriteFile(l.file, []byte(main), 0o600))
	return LoadAfter(l.file, before, nil)
}

// loadFetched is load where lists elsewhere have said this.
func (l *lists) loadFetched(main string, before *Config, said map[string]string) (*Config, error) {
	require.NoError(l.t, os.WriteFile(l.file, []byte(main), 0o600))
	return LoadAfter(l.file, before, func(_, source string) []byte {
		if text, ok := said[source]; ok {
			return []byte(text)
		}
		return nil
	})
}

// listed loads a configuration beside these lists, whose names say where they are.
func listed(t *testing.T, main string, files map[string]string) (*Config, error) {
	t.Helper()
	l := newLists(t)
	l.write(files)
	return l.load(main, nil)
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

// What is wrong in a list is told with its line, and the rest of it is in force.
func TestEntriesOfLists(t *testing.T) {
	const good = "good: {address: 10.0.0.77}\n"
	for name, c := range map[string]struct {
		list, says     string
		refused, inAll int
	}{
		"line break":    {"\"a\\nb\": {address: 10.0.0.1}\n", "x.yaml:1:1: targets.\"a\\nb\": the target's name \"a\\nb\" holds a control character", 1, 1},
		"no name":       {"\"\": {address: 10.0.0.1}\n", "the target's name is empty", 1, 1},
		"long name":     {"? " + strings.Repeat("n", 10_000) + "\n: {address: 10.0.0.1}\n", "is longer than 256 octets", 1, 1},
		"bad tag":       {"a: {address: 10.0.0.1, rack: \"1\\n2\"}\n", "holds a control character", 1, 1},
		"empty tag":     {"a: {address: 10.0.0.1, rack: \"\"}\n", "is empty", 1, 1},
		"long tag":      {"a: {address: 10.0.0.1, rack: " + strings.Repeat("r", 10_000) + "}\n", "is longer than 256 octets", 1, 1},
		"no such key":   {"a: {address: 10.0.0.1, key: none}\n", "unknown key \"none\"", 1, 1},
		"no host":       {"a: {address: 'http://x'}\n", "x.yaml:1:14: targets.a.address: \"http://x\" is neither", 1, 1},
		"no map":        {"a: 10.0.0.1\n", "a map, as {key: value}, is expected here", 1, 1},
		"in targets":    {"\ns: {address: 10.0.0.1}\n", "x.yaml:2:1: targets.s: given already in", 1, 1},
		"twice":         {"a: {address: 10.0.0.1}\na: {address: 10.0.0.2}\n", "x.yaml:2:1: targets.a: given twice, first in line 1", 1, 2},
		"one victim":    {"a: {address: 10.0.0.1}\nb: {address: 10.0.0.1}\n", `"10.0.0.1" port 862 is the target "a" already`, 1, 2},
		"in IPv6":       {"a: {address: 10.0.0.1}\nb: {address: '::ffff:10.0.0.1'}\n", `is the target "a" already`, 1, 2},
		"not allowed":   {"a: {address: 192.0.2.1}\nb: {address: 127.0.0.1}\n", "192.0.2.1 is outside probing.allow", 2, 1},
		"multicast":     {"a: {address: 224.0.0.1}\n", "is not the address of one host", 1, 1},
		"above its max": {manyTargets(1000), "probing.max_rate has no room for it", 1001 - 624, 624},
		"alias bomb":    {"a: &a {b: [1,2,3,4,5,6,7,8,9]}\nc: &c {x: *a, y: *a}\nd: {x: *c, y: *c}\n", "a single value is expected here", 3, 1},
		"merge key":     {"a: &a {address: 10.0.0.1}\n<<: *a\n", "merge keys are not supported", 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			main := "probing: {allow: [10.0.0.0/8]}\ntargets: {s: {address: 10.255.255.9}}\n" + fromLists
			got, err := listed(t, main, map[string]string{"x.yaml": c.list + good})
			require.NoError(t, err)
			l := got.TargetsFrom.Lists[0]
			require.Contains(t, Errors(l.Problems).Error(), c.says)
			require.Equal(t, []int{c.refused, c.inAll}, []int{l.Refused, l.Targets})
			require.Empty(t, l.Fault)
			require.Len(t, got.Targets, 1+c.inAll)
			require.NoError(t, got.Validate())
		})
	}
}

// What is no list at all leaves the file and the other lists as they are.
func TestListsThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct{ list, says string }{
		"HTML":            {" \n<!DOCTYPE html>\n<html><body>503: try later</body></html>\n", "x.yaml: is HTML or XML"},
		"a list":          {"\n- a\n- b\n", "x.yaml:2: is a list, and a list of targets is a map"},
		"a word":          {"gone\n", "x.yaml:1: is a single value"},
		"not UTF-8":       {"a: \xff\n", "x.yaml:1:4: octet 0xff is not UTF-8"},
		"deep nesting":    {strings.Repeat("[", 100_000), "not YAML"},
		"larger than all": {"#" + strings.Repeat("x", maxFile) + "\n", "larger than 16 MiB"},
		"cut short":       {"{\"a\": {\"address\": \"10.0", "not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			main := "probing: {allow: [10.0.0.0/8]}\ntargets: {s: {address: 10.255.255.9}}\n" + fromLists
			got, err := listed(t, main, map[string]string{"x.yaml": c.list, "other.json": `{"o": {"address": "10.0.0.1"}}`})
			require.NoError(t, err)
			require.Contains(t, got.TargetsFrom.Lists[0].Fault, c.says)
			require.Less(t, len(got.TargetsFrom.Lists[0].Fault), 1000)
			require.Len(t, got.Targets, 2)
		})
	}
}

// What only the interfaces decide is in doubt, and not left out.
func TestEntriesInDoubt(t *testing.T) {
	c, err := listed(t, fromLists, map[string]string{"x.yaml": "a: {address: 203.0.113.1}\n"})
	require.NoError(t, err)
	require.Len(t, c.Targets, 1)
	require.Contains(t, warningsText(c), "x.yaml:1:1: targets.a: 203.0.113.1 is outside probing.allow, and is probed only while")
}

func TestTooManyInLists(t *testing.T) {
	c, err := listed(t, "probing: {ports: 1, interval: 10s}\n"+fromLists, map[string]string{"x.yaml": manyTargets(maxListed + 3)})
	require.NoError(t, err)
	require.Equal(t, maxListed, c.TargetsFrom.Listed)
	require.Equal(t, 3, c.TargetsFrom.Lists[0].Refused)
	c, err = listed(t, fromLists, map[string]string{"x.yaml": strings.Repeat("a: {b: \"\"}\n", 10_000)})
	require.NoError(t, err)
	require.Equal(t, 10_000, c.TargetsFrom.Lists[0].Refused)
	require.Len(t, c.TargetsFrom.Lists[0].Problems, maxTold)
}

func manyTargets(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "t%d: {address: 10.%d.%d.%d}\n", i, i>>16, i>>8&255, i&255)
	}
	return b.String()
}

// A list of 10 MB is loaded whole.
func TestListOf10MB(t *testing.T) {
	list := strings.ReplaceAll(manyTargets(40_000), "}\n", ", rack: "+strings.Repeat("x", 250)+"}\n")
	require.Greater(t, len(list), 10_000_000)
	const slow = "probing: {interval: 1h, window: 1h, max_rate: 1000, allow: [10.0.0.0/8]}\n"
	c, err := listed(t, slow+fromLists, map[string]string{"x.yaml": list})
	require.NoError(t, err)
	require.Len(t, c.Targets, 40_000)
	require.Empty(t, c.TargetsFrom.Lists[0].Problems)
}

// A pipe is no list, and nothing waits for it; nor is a pattern that names nothing an error.
func TestListsThatAreNone(t *testing.T) {
	c, err := listed(t, "targets_from: {files: [/dev/null]}\n", nil)
	require.NoError(t, err)
	require.Equal(t, "/dev/null: is not a regular file", c.TargetsFrom.Lists[0].Fault)
	_, err = listed(t, "targets_from: {files: ['a[']}\n", nil)
	require.ErrorContains(t, err, "is not a pattern of paths")
	c, err = listed(t, "targets_from: {files: [nothing/*]}\n", nil)
	require.NoError(t, err)
	require.Contains(t, warningsText(c), "targets_from.files: no file is named")
}

// A source that lost too much stays as it was, and so does a file that is no list any more;
// everything else of the configuration is as it is now.
func TestListsThatStay(t *testing.T) {
	l := newLists(t)
	main := func(shrink string, more string) string {
		return "probing: {allow: [10.0.0.0/8]" + more + "}\ntargets_from: {files: [targets.d/a*, targets.d/b*]" + shrink + "}\n"
	}
	var c *Config
	load := func(main string) (a, b List) {
		t.Helper()
		next, err := l.load(main, c)
		require.NoError(t, err)
		require.NoError(t, next.Validate())
		c = next
		require.Equal(t, len(c.Targets), c.TargetsFrom.Listed)
		return c.TargetsFrom.Lists[0], c.TargetsFrom.Lists[1]
	}
	l.write(map[string]string{"a1": manyTargets(8), "a2": "x: {address: 10.9.0.1}\ny: {address: 10.9.0.2}\n", "b": "b: {address: 10.9.0.3}\n"})
	a, b := load(main("", ""))
	require.Equal(t, []int{10, 1}, []int{a.Targets, b.Targets})
	hash := c.Hash

	l.write(map[string]string{"a1": manyTargets(2), "b": "b: {address: 10.9.0.4}\nt7: {address: 10.9.0.5}\n"})
	a, b = load(main("", ", ports: 2"))
	require.Contains(t, a.HeldBack, "names 4 targets, and 10 before: more are gone than max_shrink: 0.5 allows")
	require.Equal(t, []int{10, 1, 1}, []int{a.Targets, b.Targets, b.Refused}, "b cannot have what a still has")
	require.Equal(t, 2, c.Probing.Ports)
	require.Equal(t, "10.9.0.4", c.Targets[10].Address)
	require.NotEqual(t, hash, c.Hash)

	a, _ = load(main("", ""))
	require.NotEmpty(t, a.HeldBack, "it is held back as long as it is so short")
	l.write(map[string]string{"a1": "<html>\n"})
	a, _ = load(main("", ""))
	require.Empty(t, a.HeldBack)
	require.Contains(t, a.Fault, "a1: is HTML or XML")
	require.Equal(t, 10, a.Targets)

	l.write(map[string]string{"a1": ""})
	a, _ = load(main("", ""))
	require.NotEmpty(t, a.HeldBack, "a file that is gone is a loss too")
	l.write(map[string]string{"a1": manyTargets(5)})
	a, _ = load(main("", ""))
	require.Empty(t, a.HeldBack)
	require.Equal(t, 7, a.Targets)
	l.write(map[string]string{"a1": manyTargets(1), "a2": "x: {address: ''}\n"})
	a, _ = load(main(", max_shrink: 1", ""))
	require.Equal(t, []int{1, 1}, []int{a.Targets, a.Refused})

	// What is no longer allowed goes at once, whatever its share: that is the file's word.
	l.write(map[string]string{"a1": manyTargets(8), "a2": "x: {address: 10.9.0.1}\n"})
	a, _ = load(main("", ""))
	require.Equal(t, 9, a.Targets)
	a, _ = load(strings.Replace(main("", ""), "10.0.0.0/8", "10.9.0.0/16", 1))
	require.Equal(t, []any{1, 8, ""}, []any{a.Targets, a.Refused, a.HeldBack})
	require.Equal(t, "10.9.0.1", c.Targets[0].Address)
}
