//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// TestScrapeOutlivesItsDatabase: what was scraped while InfluxDB was down, by scrapers that have ended since, is there
// once it is up again, each point once. A collector that is down is exit status 1.
func TestScrapeOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	influx := servers.NewInflux16(t, nil)
	influx.Query("", "CREATE DATABASE llama")
	influx.Stop()
	var asked atomic.Int64
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	collector := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		n := asked.Add(1)
		fmt.Fprintf(rw, `[{"fields":{"sent":%d.0},"tags":{"dst_ip":"10.0.0.2"},"time":%q,"measurement":"raw_stats"}]`,
			n, begin.Add(time.Duration(n)*time.Second).Format(time.RFC3339))
	}))
	t.Cleanup(collector.Close)
	file := filepath.Join(t.TempDir(), "scrape.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
host: {name: scraper}
scrape: {targets: [%s], timeout: 30s}
sinks: [{influx: {url: %q, database: llama}}]
spool: {path: spool}
`, strings.TrimPrefix(collector.URL, "http://"), "http://"+influx.Addr), 0o600))
	scrape := func() int {
		out, status := once(t, "scrape", "--once", "--config", file)
		require.NotContains(t, out, "collector is down")
		return status
	}
	for range 3 {
		scrape()
	}
	require.EqualValues(t, 3, asked.Load())
	require.DirExists(t, filepath.Join(filepath.Dir(file), "spool-scrape"))
	influx.Start()
	query := func(q string) []map[string]any { return influx.Query("llama", q) }
	require.Eventually(t, func() bool {
		scrape() // delivers what waits, and adds a point
		n := int(asked.Load())
		return len(query("SELECT sent FROM raw_stats")) == n && len(query("SELECT up FROM llama_scrape")) == n
	}, time.Minute, 100*time.Millisecond, "a point and a line of every scrape")
	for i, p := range query("SELECT sent FROM raw_stats") {
		require.Equal(t, fmt.Sprint(begin.Add(time.Duration(i+1)*time.Second).UnixNano()), fmt.Sprint(p["time"]))
	}
	require.Eventually(t, func() bool { return scrape() == 0 }, time.Minute, 100*time.Millisecond)
	collector.Close()
	require.Eventually(t, func() bool { return scrape() == 1 }, time.Minute, 100*time.Millisecond)
}
