package config

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func testEnv() env {
	return env{hostname: func() (string, error) { return "this-host", nil }}
}

func parseText(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return parse("test.yaml", []byte(text), testEnv())
}

// parseCopy parses a file of testdata from a folder that has the key files it names.
func parseCopy(t *testing.T, name string) (*Config, error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "keys"), 0o700))
	key := []byte(strings.Repeat("a5", 32) + "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys", "fabric.key"), key, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys", "token"), []byte("t0ken\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys", "api"), []byte("0123456789abcdef\n"), 0o600))
	t.Chdir(dir)
	return parse(name, data, testEnv())
}

func TestFullFile(t *testing.T) {
	c, err := parseCopy(t, "full.yaml")
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	// JSON shows no port without an address.
	require.Equal(t, netip.AddrPortFrom(netip.Addr{}, 8620), c.Reflector.Listen[0])
	b, err := json.MarshalIndent(c, "", "  ")
	require.NoError(t, err)
	t.Chdir(sourceDir)
	golden(t, "full.golden.json", string(b)+"\n")
}

// sourceDir is the package's folder, where tests begin.
var sourceDir = func() string { d, _ := os.Getwd(); return d }()

func TestWrongFileTellsEverything(t *testing.T) {
	for _, name := range []string{"wrong", "limits"} {
		t.Run(name, func(t *testing.T) {
			_, err := parseCopy(t, name+".yaml")
			var all Errors
			require.ErrorAs(t, err, &all)
			for _, p := range all {
				require.Positive(t, p.Line, p.Text)
				require.Positive(t, p.Col, p.Text)
			}
			t.Chdir(sourceDir)
			golden(t, name+".golden.txt", err.Error()+"\n")
		})
	}
}

func TestArchitectureExample(t *testing.T) {
	c, err := parseCopy(t, "architecture.yaml")
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	require.Equal(t, []probe.Target{
		{Name: "reflector01", Address: "reflector01", Port: 862, TLV: true, SSID: true,
			Tags: map[string]string{"rack": "01", "cluster": "aa", "datacenter": "iad"}},
		{Name: "reflector02", Address: "10.0.2.7", Port: 862, TLV: true, SSID: true,
			Tags: map[string]string{"rack": "01", "cluster": "bb", "datacenter": "iad"}},
	}, c.Targets)
	require.Equal(t, probe.Host{Name: "a1-h1", Tags: map[string]string{"rack": "a1", "cluster": "aa", "datacenter": "iad"}}, c.Host)

	// What it writes out beyond that are the defaults.
	d := base()
	d.Datapath.Interfaces = []string{"eth0"}
	require.Equal(t, d.Datapath, c.Datapath)
	require.Equal(t, d.Probing, c.Probing)
	require.Equal(t, d.Classes, c.Classes)
	require.Equal(t, d.API, c.API)
	require.Equal(t, d.Reflector.Listen, c.Reflector.Listen)
	require.Equal(t, prefixes("10.0.0.0/8", "fd00::/8"), c.Reflector.Allow.Prefixes)
	require.False(t, c.Reflector.Allow.Connected)
	require.Equal(t, []Kind{KindInflux, KindStdout}, []Kind{c.Sinks[0].Kind, c.Sinks[1].Kind})
	require.Equal(t, InfluxSink{URL: "http://127.0.0.1:8086", Database: "llama",
		Timeout: 10 * time.Second, Gzip: true}, c.Sinks[0].Influx)
	require.Equal(t, Push{Queue: 1000, BatchLines: 5000, BatchBytes: 1 << 20, BatchAge: 200 * time.Millisecond, Spread: true}, c.Sinks[0].Push)
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	want := base()
	want.Host.Name = "this-host"
	for _, text := range []string{"", "\n# nothing\n", "---\n", "{}", "probing:\ntargets:\nsinks:\n", "host: {name: \"\"}"} {
		c, err := parseText(t, text)
		require.NoError(t, err, text)
		if len(c.Targets) == 0 {
			c.Targets = nil
		}
		require.Equal(t, want, c, text)
	}
}

func TestDefaultIsLoopbackOnly(t *testing.T) {
	c := Default()
	require.NoError(t, c.Validate())
	require.NotEmpty(t, c.Host.Name)
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:862"), netip.MustParseAddrPort("[::1]:862")}, c.Reflector.Listen)
	require.Len(t, c.Targets, 2)
	for i, addr := range []string{"127.0.0.1", "::1"} {
		require.Equal(t, probe.Target{Name: addr, Address: addr, Port: 862, TLV: true, SSID: true}, c.Targets[i])
	}
	require.Empty(t, c.Sinks)
	require.Equal(t, "127.0.0.1:5000", c.API.Listen)
}

func TestValidateAfterAChange(t *testing.T) {
	c := Default()
	c.Probing.Timing.Late = c.Probing.Timing.Timeout
	c.Probing.Ports = 2000
	err := c.Validate()
	require.EqualError(t, err, strings.Join([]string{
		"probing.late: late (500ms) must be longer than timeout (500ms)",
		"probing.max_rate_per_target: a target with 2000 flows, a probe every 1s each: 2000 probes/s, above max_rate_per_target: 1000; what would fit: interval: 2s, or ports: 1000, or max_rate_per_target: 2000",
	}, "\n"))
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	text := "sinks: [{influx: {url: 'http://127.0.0.1', org: o, bucket: b, token: s3cret}}]\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(t, os.Chmod(path, 0o644)) // whatever the umask
	c, err := Load(path)
	require.NoError(t, err)
	require.Len(t, c.Warnings, 1+countOverlap())
	require.Contains(t, warningsText(c), path+":1:70: sinks[0].influx.token: a secret in a file that all users can read")

	require.NoError(t, os.Chmod(path, 0o600))
	c, err = Load(path)
	require.NoError(t, err)
	require.Len(t, c.Warnings, countOverlap())

	_, err = Load(filepath.Join(dir, "none.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// countOverlap is 1 where this machine's ephemeral ports overlap the default source ports.
func countOverlap() int {
	if ephemeralPorts().Overlaps(base().Probing.SourcePorts) {
		return 1
	}
	return 0
}

func warningsText(c *Config) string { return Errors(c.Warnings).Error() }

func TestPathsByTag(t *testing.T) {
	c, err := parseText(t, `
probing: {paths: [{tags: {rack: "1", role: leaf}, count: 4}, {tags: {rack: "2"}, count: 8}, {count: 2}]}
targets:
  a: {rack: "1", role: leaf, zone: z}
  b: {rack: "1"}
  c: {rack: "2", paths: 0}
  d: {rack: "2"}
  e.example: {rack: "2", paths: 99}
`)
	require.NoError(t, err)
	var got []int
	for _, to := range c.Targets {
		got = append(got, to.Paths)
	}
	require.Equal(t, []int{4, 2, 0, 8, 99}, got)
}
