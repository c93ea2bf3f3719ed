//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/llama-agent/llama-agent/internal/lab"
)

const legacyPort = 8100

// oldProbe is a probe as Dropbox's collectors send it: signature, ToS, sent, padding.
func oldProbe(signature uint64, tos byte) []byte {
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, fmt.Appendf(nil, "%010d", signature))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte{tos})
	b = protowire.AppendTag(b, 3, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(time.Now().UnixNano()))
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	return protowire.AppendBytes(b, make([]byte, 1000))
}

// oldPort is a socket of an old collector: its probes have one ToS.
type oldPort struct {
	*net.UDPConn
	tos byte
}

func newOldPort(t testing.TB, h *lab.Host, from netip.Addr, tos byte) oldPort {
	t.Helper()
	c := udp(t, h, netip.AddrPortFrom(from, 0))
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_TOS
		if from.Is6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		require.NoError(t, unix.SetsockoptInt(int(fd), level, option, int(tos)))
	}))
	return oldPort{c, tos}
}

// exchange sends a probe and waits for its reply, which has to be the same octets.
func (p oldPort) exchange(t testing.TB, to netip.AddrPort, b []byte) {
	t.Helper()
	_, err := p.WriteToUDPAddrPort(b, to)
	require.NoError(t, err)
	require.NoError(t, p.SetReadDeadline(time.Now().Add(20*time.Second)))
	got := make([]byte, 65536)
	n, from, err := p.ReadFromUDPAddrPort(got)
	require.NoError(t, err, "no reply to an old probe of ToS %#x", p.tos)
	require.Equal(t, to, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	require.True(t, bytes.Equal(b, got[:n]), "not the same octets")
}

// TestOldProbes: Dropbox's probes come back octet for octet, marked as they ask, from the kernel and from the
// sockets, where whatever other form is answered too; hostile ones end nothing; two reflectors make no loop.
func TestOldProbes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"tc", "socket"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := lab.ForTest(t, 3)
			h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
			var far []*agent
			for _, h := range []*lab.Host{h2, h3} {
				a := startAgent(t, h, "msg=reflecting listen", "reflect", "--legacy", "--mode", mode, "--pin", newPin())
				if mode == "tc" {
					a.logs(t, "mode=tc")
				}
				far = append(far, a)
			}
			tap, err := l.Fabric().Tap(h1)
			require.NoError(t, err)
			between, err := l.Fabric().Tap(h3)
			require.NoError(t, err)

			const each = 20
			want := map[byte]int{}
			for _, six := range []bool{false, true} {
				to := netip.AddrPortFrom(h2.Addr(six), legacyPort)
				for _, tos := range []byte{0, 0xb8, 0x21} {
					p := newOldPort(t, h1, h1.Addr(six), tos)
					for i := range uint64(each) {
						p.exchange(t, to, oldProbe(i, tos))
						want[tos]++
					}
				}
				p := newOldPort(t, h1, h1.Addr(six), 0)
				for _, hostile := range [][]byte{{}, {0}, oldProbe(1, 0)[:500], bytes.Repeat([]byte{0xff}, 1028), oldProbe(1, 0)[:12]} {
					_, err := p.WriteToUDPAddrPort(hostile, to)
					require.NoError(t, err)
				}
				for _, valid := range [][]byte{{0x12, 1, 0x48}, append(oldProbe(2, 0x48), 0x40, 1), oldProbe(3, 0x48)} {
					p.exchange(t, to, valid) // the hostile ones would have been answered before
					want[0x48]++
				}
				// A probe that seems to come from the other reflector. Neither answers it: or it would never end.
				looped := reuse(t, h3, netip.AddrPortFrom(h3.Addr(six), legacyPort))
				_, err := looped.WriteToUDPAddrPort(oldProbe(4, 0), to)
				require.NoError(t, err)
				p.exchange(t, to, oldProbe(5, 0x48)) // it has been through by now
				want[0x48]++
			}
			records, err := tap.Stop()
			require.NoError(t, err)
			got := map[byte]int{}
			for _, r := range records {
				if r.Direction == lab.ToHost && r.Src.Port() == legacyPort {
					got[r.DSCP<<2|r.ECN]++
				}
			}
			require.Equal(t, want, got, "replies by ToS")
			records, err = between.Stop()
			require.NoError(t, err)
			var forged int
			for _, r := range records {
				if r.Src.Port() == legacyPort && r.Dst.Port() == legacyPort {
					forged++
					require.Equal(t, lab.FromHost, r.Direction, "a reflector has answered another")
				}
			}
			require.Equal(t, 2, forged)
			for _, a := range far {
				a.stop(t)
			}
			require.Contains(t, far[0].log.String(), "legacy_malformed=6")
			require.Contains(t, far[0].log.String(), "legacy_no_tos=2")
			require.Contains(t, far[0].log.String(), "port_reflector=2")
			if mode == "tc" { // where only the odd forms come to the sockets
				require.Contains(t, far[0].log.String(), fmt.Sprintf(" legacy=%d", 2*(3*each+2)))
			}
		})
	}
}

// reuse opens a socket at a port that a reflector has already.
func reuse(t testing.TB, h *lab.Host, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c net.PacketConn
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	require.NoError(t, h.Do(func() (err error) {
		c, err = config.ListenPacket(t.Context(), "udp", at.String())
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UDPConn)
}

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

// TestMigration goes the way of docs/migration.md, with a host of each kind at each step: an old collector towards a new
// reflector (h1 to h2), the old configuration in a new agent (h2 to h3), and what both have measured by one scraper.
func TestMigration(t *testing.T) {
	t.Parallel()
	l := lab.ForTest(t, 3)
	h1, h2, h3 := l.Host(1), l.Host(2), l.Host(3)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	reflectOverSockets(t, h3, "--legacy")

	// The old configuration, imported, is right, and runs as it is but for where this test has its pins.
	old := file("old.yaml", fmt.Sprintf(oldConfiguration, h3.IPv4))
	imported, err := exec.Command(program, "config", "import", old).Output()
	require.NoError(t, err)
	out, status := once(t, "check", "--config", file("imported.yaml", string(imported)))
	require.Zero(t, status, out)
	written := filepath.Join(dir, "written")
	agentFile := file("agent.yaml", string(imported)+fmt.Sprintf("\ndatapath: {pin: %s, mode: tc, interfaces: [eth0]}\nsinks: [{file: {path: %s, schema: raw_stats}}]\n", newPin(), written))
	agent := startAgent(t, h2, "llama-agent runs", "run", "--config", agentFile)
	agent.logs(t, "mode=tc")

	// Dropbox's own one where there is a build of it: no module proxy has it.
	if built := os.Getenv("LLAMA_OLD"); built != "" {
		config := file("collector.yaml", strings.Replace(fmt.Sprintf(oldConfiguration, h2.IPv4), "dst_host: h3", "dst_host: h2", 1))
		cmd := h1.Command(t.Context(), filepath.Join(built, "collector"), "-llama.config", config)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Wait() })
	} else {
		startOldCollector(t, h1, "10.77.1.2:5000", netip.AddrPortFrom(h2.IPv4, legacyPort))
	}

	// Dropbox's scraper reads the new agent: the fields that it knows, each class a series of its own.
	var points []oldPoint
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialIn(h1)}}
	eventually(t, func() bool {
		resp, err := client.Get("http://" + h2.IPv4.String() + ":5000/influxdata")
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
			"dst_ip": h3.IPv4.String(), "src_ip": h2.IPv4.String(), "dst_host": "h3", "src_rack": "a1", "my_tag": "foobar",
		} {
			require.Equal(t, want, p.Tags[name], name)
		}
		classes[p.Tags["class"]] = true
	}
	require.Equal(t, map[string]bool{"be": true, "voice": true}, classes)

	// The new scraper reads both kinds, and a collector that is not there.
	scraped := filepath.Join(dir, "scraped")
	scrapeFile := file("scrape.yaml", fmt.Sprintf("host: {name: scraper}\nscrape: {targets: [%s, %s, %s], interval: 1s, tag: collector}\nsinks: [{file: {path: %s}}]\n",
		h1.IPv4, h2.IPv4, h3.IPv4, scraped))
	scraper := startAgent(t, h3, "msg=scraping", "scrape", "--config", scrapeFile)
	scraper.logs(t, "collector is down")
	last := func(measurement, collector string) (found *line) {
		b, err := os.ReadFile(scraped)
		require.NoError(t, err)
		b = b[:bytes.LastIndexByte(b, '\n')+1] // the rest is still being written
		for d := lineprotocol.NewDecoderWithBytes(b); d.Next(); {
			if l, _ := readLine(t, d); l.measurement == measurement && l.tags["collector"] == collector {
				found = &l
			}
		}
		return found
	}
	for collector, want := range map[string]map[string]string{
		h1.IPv4.String(): {"dst_host": "h2", "src_ip": "::", "dst_ip": h2.IPv4.String()}, // of a socket that is bound to no address
		h2.IPv4.String(): {"dst_host": "h3", "src_ip": h2.IPv4.String(), "dst_ip": h3.IPv4.String()},
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
	eventually(t, func() bool { return last("llama_scrape", h3.IPv4.String()) != nil }, "a line of the collector that is not there")
	require.Zero(t, last("llama_scrape", h3.IPv4.String()).ints["up"])
	require.Equal(t, "scraper", last("llama_scrape", h3.IPv4.String()).tags["src"])

	// When the old collector's host has the new agent too, the scraper is not needed: the agent writes the same itself.
	eventually(t, func() bool {
		b, _ := os.ReadFile(written)
		return strings.Contains(string(b), "raw_stats,class=voice,")
	}, "lines of its own")
	scraper.stop(t)
	agent.stop(t)
	require.Contains(t, agent.log.String(), "stopping")
	for _, l := range readLines(t, written) {
		require.Contains(t, []string{"raw_stats", "llama_agent"}, l.measurement)
	}
	out, status = once(t, "scrape", "--config", agentFile)
	require.Equal(t, 2, status)
	require.Contains(t, out, "scrape.targets names no collector")
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
