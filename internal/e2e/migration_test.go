//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
)

// oldCollector stands for one of Dropbox's in a host: it probes one target by the old protocol, and serves what it
// measured at /influxdata, with the year 1 for a time, as they do.
type oldCollector struct {
	port oldPort
	to   netip.AddrPort

	mu         sync.Mutex // protects the fields below
	sent, lost int
	rtt        time.Duration // of all that came back
}

func startOldCollector(t testing.TB, h *lab.Host, listen string, to netip.AddrPort) {
	t.Helper()
	o := &oldCollector{port: newOldPort(t, h, h.IPv4, 0), to: to}
	var l net.Listener
	require.NoError(t, h.Do(func() (err error) {
		l, err = net.Listen("tcp", listen)
		return err
	}))
	server := &http.Server{Handler: o}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	wg.Go(func() {
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				o.probe(i)
			}
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		close(stop)
		wg.Wait()
	})
}

func (o *oldCollector) probe(i uint64) {
	b, sent := oldProbe(i, 0), time.Now()
	_, err := o.port.WriteToUDPAddrPort(b, o.to)
	back := make([]byte, 2048)
	n := 0
	if err == nil {
		_ = o.port.SetReadDeadline(sent.Add(5 * time.Second))
		n, _, err = o.port.ReadFromUDPAddrPort(back)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sent++; err != nil || !bytes.Equal(back[:n], b) {
		o.lost++
		return
	}
	o.rtt += time.Since(sent)
}

func (o *oldCollector) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.URL.Path != "/influxdata" || o.sent == o.lost {
		fmt.Fprint(rw, "[]")
		return
	}
	fmt.Fprintf(rw, `[{"fields":{"loss":%f,"lost":%f,"rtt":%f,"sent":%f},"tags":{"dst_host":"h2","dst_ip":%q,"src_ip":"::"},"time":"0001-01-01T00:00:00Z","measurement":"raw_stats"}]`,
		100*float64(o.lost)/float64(o.sent), float64(o.lost), float64(o.rtt.Microseconds())/1e3/float64(o.sent-o.lost), float64(o.sent),
		o.to.Addr())
}

// dialIn connects from inside the host.
func dialIn(h *lab.Host) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, network, address string) (c net.Conn, err error) {
		err = h.Do(func() (err error) {
			c, err = net.Dial(network, address)
			return err
		})
		return c, err
	}
}

// oldPoint is a point as Dropbox's scraper decodes it.
type oldPoint struct {
	Fields      map[string]float64 `json:"fields"`
	Tags        map[string]string  `json:"tags"`
	Time        time.Time          `json:"time"`
	Measurement string             `json:"measurement"`
}

const oldConfiguration = `
summarization: {interval: 1, handlers: 2}
api: {bind: "0.0.0.0:5000"}
ports: {default: {ip: 0.0.0.0, port: 0, tos: 0, timeout: 1000}, voice: {ip: 0.0.0.0, port: 0, tos: 184, timeout: 1000}}
port_groups: {default: [{port: default, count: 4}, {port: voice, count: 4}]}
rate_limits: {default: {cps: 10.0}}
tests: [{targets: default, port_group: default, rate_limit: default}]
targets:
  default:
    - {ip: %s, port: 8100, tags: {dst_host: h3, src_rack: a1, my_tag: foobar}}
`

// migration is a fleet of three on its way: an old collector in h1 probes h2, whose new agent, by the old
// configuration, probes h3.
type migration struct {
	h1, h2, h3 *lab.Host
	dir        string
	config     string // of the new agent
	written    string // what it writes by itself
	agent      *agent
}

// TestMigration goes the way of docs/migration.md, with a host of each kind at each step: an old collector towards a new
// reflector (h1 to h2), the old configuration in a new agent (h2 to h3), and what both have measured by one scraper.
func TestMigration(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	m := &migration{h1: l.Host(1), h2: l.Host(2), h3: l.Host(3), dir: t.TempDir()}
	reflectOverSockets(t, m.h3, "--legacy")
	m.startImported(t)
	m.startOld(t)
	m.requireOldView(t)
	scraper := m.requireScraped(t)
	m.requireOwnLines(t)
	scraper.stop(t)
	m.agent.stop(t)
	require.Contains(t, m.agent.log.String(), "stopping")
	for _, l := range readLines(t, m.written) {
		require.Contains(t, []string{"raw_stats", "llama_agent"}, l.measurement)
	}
	out, status := once(t, "scrape", "--config", m.config)
	require.Equal(t, 2, status)
	require.Contains(t, out, "scrape.targets names no collector")
}

func (m *migration) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(m.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// startImported imports the old configuration, which is right then, and runs as it is but for where this test has its
// pins and its sink.
func (m *migration) startImported(t *testing.T) {
	t.Helper()
	imported, err := exec.Command(program, "config", "import", m.file(t, "old.yaml", fmt.Sprintf(oldConfiguration, m.h3.IPv4))).Output()
	require.NoError(t, err)
	out, status := once(t, "check", "--config", m.file(t, "imported.yaml", string(imported)))
	require.Zero(t, status, out)
	m.written = filepath.Join(m.dir, "written")
	m.config = m.file(t, "agent.yaml", fmt.Sprintf("%s\ndatapath: {pin: %s, mode: tc, interfaces: [eth0]}\nsinks: [{file: {path: %s, schema: raw_stats}}]\n",
		imported, newPin(), m.written))
	m.agent = startAgent(t, m.h2, "llama-agent runs", "run", "--config", m.config)
	m.agent.logs(t, "mode=tc")
}

// startOld starts Dropbox's own collector where there is a build of it, which no module proxy has, or what stands for it.
func (m *migration) startOld(t *testing.T) {
	t.Helper()
	built := os.Getenv("LLAMA_OLD")
	if built == "" {
		startOldCollector(t, m.h1, "10.77.1.2:5000", netip.AddrPortFrom(m.h2.IPv4, legacyPort))
		return
	}
	config := m.file(t, "collector.yaml", strings.Replace(fmt.Sprintf(oldConfiguration, m.h2.IPv4), "dst_host: h3", "dst_host: h2", 1))
	cmd := m.h1.Command(t.Context(), filepath.Join(built, "collector"), "-llama.config", config)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
}

// requireOldView reads the new agent as Dropbox's scraper does: the fields that it knows, each class a series of its own.
func (m *migration) requireOldView(t *testing.T) {
	t.Helper()
	var points []oldPoint
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialIn(m.h1)}}
	eventually(t, func() bool {
		resp, err := client.Get("http://" + m.h2.IPv4.String() + ":5000/influxdata")
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		points = nil
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&points))
		return len(points) == 2
	}, "a window of both classes")
	classes := map[string]bool{}
	for _, p := range points {
		require.Equal(t, "raw_stats", p.Measurement)
		require.False(t, p.Time.IsZero())
		require.Len(t, p.Fields, 4)
		for _, name := range []string{"loss", "lost", "rtt", "sent"} {
			require.Contains(t, p.Fields, name)
		}
		require.Positive(t, p.Fields["sent"])
		for name, want := range map[string]string{
			"dst_ip": m.h3.IPv4.String(), "src_ip": m.h2.IPv4.String(), "dst_host": "h3", "src_rack": "a1", "my_tag": "foobar",
		} {
			require.Equal(t, want, p.Tags[name], name)
		}
		classes[p.Tags["class"]] = true
	}
	require.Equal(t, map[string]bool{"be": true, "voice": true}, classes)
}

// requireScraped has the new scraper read both kinds, and a collector that is not there.
func (m *migration) requireScraped(t *testing.T) (scraper *agent) {
	t.Helper()
	scraped := filepath.Join(m.dir, "scraped")
	config := m.file(t, "scrape.yaml", fmt.Sprintf("host: {name: scraper}\nscrape: {targets: [%s, %s, %s], interval: 1s, tag: collector}\nsinks: [{file: {path: %s}}]\n",
		m.h1.IPv4, m.h2.IPv4, m.h3.IPv4, scraped))
	scraper = startAgent(t, m.h3, "msg=scraping", "scrape", "--config", config)
	scraper.logs(t, "collector is down")
	last := func(measurement string, collector netip.Addr) (found *line) {
		return lastOf(t, scraped, measurement, collector.String())
	}
	for collector, want := range map[netip.Addr]map[string]string{
		m.h1.IPv4: {"dst_host": "h2", "src_ip": "::", "dst_ip": m.h2.IPv4.String()}, // of a socket that is bound to no address
		m.h2.IPv4: {"dst_host": "h3", "src_ip": m.h2.IPv4.String(), "dst_ip": m.h3.IPv4.String()},
	} {
		eventually(t, func() bool { return last("raw_stats", collector) != nil && last("llama_scrape", collector) != nil }, "points of %s", collector)
		p := last("raw_stats", collector)
		for name, v := range want {
			require.Equal(t, v, p.tags[name], name)
		}
		require.Positive(t, p.floats["rtt"])
		require.Positive(t, p.floats["sent"])
		require.Contains(t, p.floats, "loss")
		require.EqualValues(t, 1, last("llama_scrape", collector).ints["up"])
	}
	eventually(t, func() bool { return last("llama_scrape", m.h3.IPv4) != nil }, "a line of the collector that is not there")
	require.Zero(t, last("llama_scrape", m.h3.IPv4).ints["up"])
	require.Equal(t, "scraper", last("llama_scrape", m.h3.IPv4).tags["src"])
	return scraper
}

// lastOf is the last line so far of a measurement, of what one collector said; nil if there is none.
func lastOf(t *testing.T, file, measurement, collector string) (found *line) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b = b[:bytes.LastIndexByte(b, '\n')+1] // the rest is still being written
	for d := lineprotocol.NewDecoderWithBytes(b); d.Next(); {
		if l, _ := readLine(t, d); l.measurement == measurement && l.tags["collector"] == collector {
			found = &l
		}
	}
	return found
}

// requireOwnLines: when the old collector's host has the new agent too, the scraper is not needed. The agent writes the
// same itself.
func (m *migration) requireOwnLines(t *testing.T) {
	t.Helper()
	eventually(t, func() bool {
		b, _ := os.ReadFile(m.written)
		return strings.Contains(string(b), "raw_stats,class=voice,")
	}, "lines of its own")
}

// TestShortFormRuns: the older form, once imported, is right in the eyes of check, starts, and ends well.
func TestShortFormRuns(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 1)
	imported, err := exec.Command(program, "config", "import", "../config/testdata/import/short.yaml").Output()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	require.NoError(t, os.WriteFile(file, append(imported, "\ndatapath: {mode: socket}\n"...), 0o600))
	out, status := once(t, "check", "--config", file)
	require.Zero(t, status, out)
	a := startAgent(t, l.Host(1), "llama-agent runs", "run", "--config", file)
	a.logs(t, "msg=probing")
	a.stop(t)
	out, status = once(t, "config", "import", "../config/testdata/wrong.yaml")
	require.Equal(t, 2, status)
	require.Contains(t, out, "wrong.yaml:")
}
