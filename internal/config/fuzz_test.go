package config

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzParse: no input crashes it, a refusal names its problems, and what is
// accepted keeps every promise that the rest of the agent relies on.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, s := range []string{"a: &a [*a]", "<<: {}", "? [a]\n: b", "targets: {~: ~, '': ''}", "--- !!map {}", "targets: {a: {ssid: false, rack: &x 1, b: *x}}", "%YAML 1.2\n---\n", "\ufeffapi:\n", "sinks: [{}, ~, []]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("fuzz.yaml", data, testEnv())
		if err != nil {
			var all Errors
			require.ErrorAs(t, err, &all)
			require.NotEmpty(t, all)
			for _, p := range all {
				require.NotEmpty(t, p.Text)
			}
			require.Nil(t, c)
			return
		}
		require.NoError(t, c.Validate())
		requireSound(t, c)
	})
}

// requireSound checks the promises without the code that makes them.
func requireSound(t *testing.T, c *Config) {
	p := c.Probing
	require.NotEmpty(t, c.Host.Name)
	require.NotEmpty(t, p.Classes)
	for _, cl := range p.Classes {
		require.Contains(t, c.Classes, cl)
		require.LessOrEqual(t, cl.DSCP, uint8(63))
	}
	require.GreaterOrEqual(t, p.Timing.Interval, time.Millisecond)
	require.Positive(t, p.Timing.Timeout)
	require.Greater(t, p.Timing.Late, p.Timing.Timeout)
	require.GreaterOrEqual(t, p.Timing.Window, time.Second)
	require.Zero(t, 24*time.Hour%p.Timing.Window)
	require.Positive(t, p.Ports)
	require.GreaterOrEqual(t, p.SourcePorts.Lo, uint16(1024))
	require.GreaterOrEqual(t, int(p.SourcePorts.Hi)-int(p.SourcePorts.Lo)+1, p.Ports)
	for _, l := range c.Reflector.Listen {
		require.NotZero(t, l.Port())
		require.False(t, p.SourcePorts.Contains(l.Port()))
	}
	for _, r := range c.Reflector.Auth {
		require.GreaterOrEqual(t, len(r.Key), 16)
		require.True(t, r.Prefix.IsValid() || r.SSID != 0)
	}
	perTarget := float64(p.Ports*len(p.Classes)) / p.Timing.Interval.Seconds()
	require.LessOrEqual(t, perTarget*float64(len(c.Targets)), float64(p.MaxRate)*1.000001)
	names := map[string]bool{}
	for _, tg := range c.Targets {
		require.False(t, names[tg.Name])
		names[tg.Name] = true
		require.NotEmpty(t, tg.Name)
		require.NotEmpty(t, tg.Address)
		require.NotZero(t, tg.Port)
		require.LessOrEqual(t, perTarget, float64(p.MaxRatePerTarget)*1.000001)
		for k, v := range tg.Tags {
			require.NotEmpty(t, k)
			require.NotEmpty(t, v)
		}
	}
	for _, s := range c.Sinks {
		require.Equal(t, s.Kind == KindFile, s.File.Path != "")
		require.Equal(t, s.Kind == KindInflux, s.Influx.URL != "")
	}
}

// FuzzParseTarget: what anyone with a token may ask for is an address or a name and a port, or is refused in a few words;
// what it was read as, written out, is read as the same.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"h", "h:862", "10.0.0.1:1", "fd00::1", "[fd00::1]:65535", "[::ffff:10.0.0.1]:5", "h:", "[h]:1", "fe80::1%eth0", "a.b.:7", "0:0", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			require.Less(t, len(err.Error()), 512)
			return
		}
		require.NotZero(t, target.Port)
		require.LessOrEqual(t, len(target.Address), 254)
		if a := literal(target.Address); a.IsValid() {
			require.Equal(t, a.String(), target.Address)
			require.False(t, a.IsMulticast() || a.IsUnspecified() || a.Zone() != "")
		}
		again, err := ParseTarget(net.JoinHostPort(target.Address, strconv.Itoa(int(target.Port))))
		require.NoError(t, err)
		require.Equal(t, []any{target.Address, target.Port}, []any{again.Address, again.Port})
	})
}
