package sink

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/servers"
)

// endpoint is a real server, how to write to it, and how many of our lines it has.
type endpoint struct {
	name  string
	cfg   InfluxConfig
	lines func() int
}

func endpoints(t *testing.T) []endpoint {
	i16 := servers.NewInflux16(t, nil)
	i18 := servers.NewInflux18(t, nil, "")
	for _, s := range []*servers.Influx{i16, i18} {
		s.Query("", "CREATE DATABASE llama")
		s.Query("", "CREATE DATABASE two")
	}
	vm := servers.NewVictoria(t, nil)
	v1 := servers.NewTelegraf(t, nil, "[[inputs.influxdb_listener]]\nservice_address = \"%s\"\n", "Started HTTP listener")
	v2 := servers.NewTelegraf(t, nil, "[[inputs.influxdb_v2_listener]]\nservice_address = \"%s\"\ntoken = \"s3cr3t\"\n", "Started HTTP listener")
	rows := func(s *servers.Influx, db string) func() int {
		return func() int { return len(s.Query(db, "SELECT sent FROM llama_path")) }
	}
	points := func() (n int) {
		for _, series := range vm.Export(`{__name__="llama_path_sent"}`) {
			n += len(series.Values)
		}
		return n
	}
	distinct := func(g *servers.Telegraf) func() int {
		return func() int {
			seen := map[string]bool{}
			for _, line := range g.Lines() {
				seen[line] = true
			}
			return len(seen)
		}
	}
	return []endpoint{
		{"influxdb 1.6", InfluxConfig{URL: i16.URL, Database: "llama"}, rows(i16, "llama")},
		{"influxdb 1.8", InfluxConfig{URL: i18.URL, Database: "llama"}, rows(i18, "llama")},
		{"influxdb 1.8 v2", InfluxConfig{URL: i18.URL, Bucket: "two/autogen", Org: "any"}, rows(i18, "two")},
		{"victoriametrics", InfluxConfig{URL: vm.URL, Database: "llama"}, points},
		{"telegraf v1", InfluxConfig{URL: v1.URL, Database: "llama"}, distinct(v1)},
		{"telegraf v2", InfluxConfig{URL: v2.URL, Bucket: "llama", Token: "s3cr3t"}, distinct(v2)},
	}
}

// Lines that a server refuses are put aside with its words, all others reach it; a tag
// or a name that somebody chose to do harm is no such line.
func TestRealServersBadLines(t *testing.T) {
	for _, e := range endpoints(t) {
		t.Run(e.name, func(t *testing.T) {
			w, err := NewInflux(e.cfg)
			require.NoError(t, err)
			dir := t.TempDir()
			o := spooled(dir)
			q := NewQueue(w, o)
			var text strings.Builder
			for i := range 500 {
				fmt.Fprintf(&text, "llama_path,src=a,dst=b%d sent=%di %d\n", i, i, testEnd.UnixNano())
				if i%200 == 100 {
					fmt.Fprintf(&text, "garbage-%d\nllama_path,src=a,dst=c%d sent=1i not-a-time\n", i, i)
				}
			}
			q.Enqueue(batch(text.String()))
			settled := func(n uint64) func() bool { return func() bool { return q.Stats().Delivered.Batches == n } }
			require.Eventually(t, settled(1), 60*time.Second, 5*time.Millisecond)
			require.Equal(t, uint64(500), q.Stats().Delivered.Lines)
			require.Equal(t, uint64(4), q.Stats().Refused)
			aside, err := os.ReadFile(filepath.Join(dir, "aside", "refused.lp"))
			require.NoError(t, err)
			for _, i := range []int{100, 300} {
				require.Contains(t, string(aside), fmt.Sprintf("\ngarbage-%d\n", i))
				require.Contains(t, string(aside), fmt.Sprintf("\nllama_path,src=a,dst=c%d sent=1i not-a-time\n", i))
			}

			f := NewFanout(NewEncoder(testHost, EncoderOptions{Log: quiet()}), q)
			require.NoError(t, f.Window(window(hostilePaths()...)))
			require.Eventually(t, settled(2), 60*time.Second, 5*time.Millisecond)
			require.Equal(t, uint64(4), q.Stats().Refused, "what the encoder writes is read by all")
			require.NoError(t, f.Close(t.Context()))
			want := 500 + len(hostilePaths())
			require.Eventually(t, func() bool { return e.lines() >= want }, 30*time.Second, 20*time.Millisecond)
			require.Equal(t, want, e.lines())
		})
	}
}

// hostilePaths have names and tags, and a number, that nobody means well with.
func hostilePaths() []probe.Path {
	var paths []probe.Path
	for _, name := range []string{
		"new\nllama_path,src=evil sent=1i 1\nline", "com,ma", "sp ace", "eq=ual", `back\`, `back\, slash`, `quo"te`, "\x00\xff\r\t",
		"# comment", "llama_agent", "=,= ", strings.Repeat("x", 10_000), "東京", "'; DROP DATABASE llama; --", "\u2028",
	} {
		p := plainPath()
		p.Dst = name
		p.DstTags = map[string]string{name: name, "plain": "", "": "empty"}
		p.Jitter = probe.Opt{Value: math.NaN(), OK: true}
		paths = append(paths, p)
	}
	return paths
}

// A wrong address, name or token holds the batches, and the log says what to mend.
func TestRealServersWrongSettings(t *testing.T) {
	all := map[string]InfluxConfig{}
	for _, e := range endpoints(t) {
		all[e.name] = e.cfg
	}
	for _, c := range []struct {
		server string
		change func(*InfluxConfig)
		class  ErrorClass
		do     Verdict
		says   string
	}{
		{"influxdb 1.6", func(c *InfluxConfig) { c.Database = "no" }, ErrorHTTP4xx, Hold, `database "no" is missing: influx -execute 'CREATE DATABASE "no"'`},
		{"influxdb 1.8 v2", func(c *InfluxConfig) { c.Bucket = "no/autogen" }, ErrorHTTP4xx, Hold, `database "no" is missing`},
		{"influxdb 1.6", func(c *InfluxConfig) { c.RetentionPolicy = "no" }, ErrorHTTP4xx, Hold, `CREATE RETENTION POLICY "no" ON "llama"`},
		{"influxdb 1.6", func(c *InfluxConfig) { c.URL += "/elsewhere" }, ErrorHTTP4xx, Hold, "no write API at this address"},
		{"influxdb 1.6", func(c *InfluxConfig) { c.Database, c.Bucket = "", "llama" }, ErrorHTTP4xx, Hold, "database or bucket by the server's version"},
		{"influxdb 1.6", func(c *InfluxConfig) { c.URL = strings.Replace(c.URL, "http:", "https:", 1) }, ErrorTLS, Retry, "url with http"},
		{"victoriametrics", func(c *InfluxConfig) { c.URL += "/elsewhere" }, ErrorHTTP4xx, Hold, "no write API at this address"},
		{"telegraf v1", func(c *InfluxConfig) { c.URL += "/elsewhere" }, ErrorHTTP4xx, Hold, "no write API at this address"},
		{"telegraf v2", func(c *InfluxConfig) { c.Token = "wr0ng" }, ErrorAuth, Hold, "check the user and password or the token"},
		{"telegraf v2", func(c *InfluxConfig) { c.URL = "http://127.0.0.1:1" }, ErrorNetwork, Retry, "connection refused"},
	} {
		cfg := all[c.server]
		c.change(&cfg)
		w, err := NewInflux(cfg)
		require.NoError(t, err)
		err = w.Write(t.Context(), batch("llama_path,src=a sent=1i 1\n"))
		var f *Failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, c.class, f.Class, c.says)
		require.Equal(t, c.do, f.Do, c.says)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "wr0ng")
	}
}

// A user, a password and a token are what a server with authentication asks for.
func TestRealInfluxAuthentication(t *testing.T) {
	s := servers.NewInflux18(t, nil, "auth-enabled = true")
	s.Query("", `CREATE USER "ops" WITH PASSWORD 's3cr3t' WITH ALL PRIVILEGES`)
	for name, c := range map[string]struct {
		cfg  InfluxConfig
		says string
	}{
		"none":           {InfluxConfig{Database: "llama"}, "401"},
		"wrong password": {InfluxConfig{Database: "llama", User: "ops", Password: "wr0ng"}, "401"},
		"password":       {InfluxConfig{Database: "llama", User: "ops", Password: "s3cr3t"}, "CREATE DATABASE"},
		"token":          {InfluxConfig{Bucket: "llama/autogen", Token: "ops:s3cr3t"}, "CREATE DATABASE"},
		"wrong token":    {InfluxConfig{Bucket: "llama/autogen", Token: "ops:wr0ng"}, "401"},
	} {
		c.cfg.URL = s.URL
		w, err := NewInflux(c.cfg)
		require.NoError(t, err)
		err = w.Write(t.Context(), batch("llama_path,src=a sent=1i 1\n"))
		require.ErrorContains(t, err, c.says, name)
	}
}
