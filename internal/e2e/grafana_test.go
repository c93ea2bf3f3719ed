//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/servers"
)

// fleet is what three agents of the lab have written, and the time that it spans. Its windows are fleetWindow long.
type fleet struct {
	text     string // line protocol
	metrics  string // h2's /metrics, at the end
	scraper  *servers.Prometheus
	lines    []line
	from, to time.Time // whole minutes
}

const fleetWindow = time.Second

const fleetConfig = `
host: {name: h%[1]d.lab, tags: {rack: r%[2]d, cluster: c1, datacenter: d1}, clock_error: 10us}
datapath: {pin: %[3]s}
probing: {ports: 4, interval: 20ms, timeout: 200ms, late: 400ms, window: 1s, one_way: true, sizes: [100, 1400]}
spool: {path: %[5]s}
sinks:
  - file: {path: %[4]s}
  - influx: {url: "http://127.0.0.1:9", database: llama} # nothing listens: lines wait
api: {listen: ":5000"}
targets:
`

// rackOf are two racks: r0 has h1, r1 has h2 and h3.
func rackOf(host int) int { return host / 2 }

// probeFleet repeats what probeOnce does while this machine drops packets itself: its lines would be no evidence.
func probeFleet(t *testing.T) fleet {
	for range 4 {
		f := probeOnce(t)
		if !slices.ContainsFunc(f.lines, func(x line) bool { return x.ints["host_drops"] > 0 }) {
			f.ownDrops()
			return f
		}
		t.Log("this machine dropped packets itself: once more")
	}
	t.Fatal("this machine drops packets itself all the time")
	return fleet{}
}

// probeOnce: h1 loses probes towards h2, h3 loses all of them towards h2, and h2 has no route to gone.lab.
func probeOnce(t *testing.T) fleet {
	l := lab.ForTest(t, 3)
	lab.Require(t, lab.Nftables)
	for _, r := range []lab.Rule{
		{From: l.Host(1), To: l.Host(2), DstPort: lab.DefaultReflectorPort, Every: 5},
		{From: l.Host(3), To: l.Host(2), DstPort: lab.DefaultReflectorPort},
	} {
		_, err := l.Fabric().Drop(r)
		require.NoError(t, err)
	}
	ip(t, l.Host(2), "route add unreachable 10.99.0.0/16")
	dir := t.TempDir()
	f := fleet{scraper: servers.NewPrometheus(t, l.Host(1), fleetScrapes)}
	var all []*running
	for i := 1; i <= 3; i++ {
		r := &running{host: l.Host(i), config: filepath.Join(dir, fmt.Sprint("config", i)), output: filepath.Join(dir, fmt.Sprint("lines", i)), pin: newPin()}
		config := fmt.Sprintf(fleetConfig, i, rackOf(i), r.pin, r.output, filepath.Join(dir, fmt.Sprint("spool", i)))
		for j := 1; j <= 3; j++ {
			config += fmt.Sprintf("  h%d.lab: {address: 10.77.%d.2, rack: r%d, cluster: c1, datacenter: d1}\n", j, j, rackOf(j))
		}
		if i == 2 {
			config += "  gone.lab: {address: 10.99.0.1, rack: r9, cluster: c1, datacenter: d1}\n"
		}
		require.NoError(t, os.WriteFile(r.config, []byte(config), 0o600))
		r.start(t)
		all = append(all, r)
	}
	serveBusy(t, all[0])
	all[1].get(t, "/metrics") // from now on it counts
	for i, r := range all {
		r.writes(t, fmt.Sprintf("h%d.lab", (i+1)%3+1), 5)
	}
	_, f.metrics = all[1].get(t, "/metrics")
	for _, r := range all {
		r.signal(t, syscall.SIGTERM)
	}
	for _, r := range all {
		<-r.done
		require.NoError(t, r.err)
		b, err := os.ReadFile(r.output)
		require.NoError(t, err)
		f.text += string(b)
		f.lines = append(f.lines, readLines(t, r.output)...)
	}
	f.from, f.to = f.lines[0].at, f.lines[0].at
	for _, x := range f.lines {
		if x.at.Before(f.from) {
			f.from = x.at
		}
		if x.at.After(f.to) {
			f.to = x.at
		}
	}
	f.from, f.to = f.from.Add(-time.Second).Truncate(time.Minute), f.to.Add(time.Minute-1).Truncate(time.Minute)
	return f
}

// ownDrops adds a host that loses as h1 does, and says of each window that it dropped packets itself.
func (f *fleet) ownDrops() {
	const name = "busy.lab"
	for x := range strings.Lines(f.text) {
		if strings.HasPrefix(x, "llama_path,") && strings.Contains(x, ",src=h1.lab,") && strings.Contains(x, ",dst=h2.lab,") {
			f.text += strings.NewReplacer(",src=h1.lab,", ",src="+name+",", "host_drops=0i", "host_drops=7i").Replace(x)
		}
	}
	for _, x := range f.lines {
		if x.measurement == "llama_path" && x.tags["src"] == "h1.lab" && x.tags["dst"] == "h2.lab" {
			tags, ints := map[string]string{}, map[string]int64{}
			for k, v := range x.tags {
				tags[k] = v
			}
			for k, v := range x.ints {
				ints[k] = v
			}
			tags["src"] = name
			ints["host_drops"] = 7
			f.lines = append(f.lines, line{measurement: x.measurement, tags: tags, ints: ints, floats: x.floats, at: x.at})
		}
	}
}

// TestGrafana runs every query of every dashboard, as Grafana would send it, against the real databases with what
// agents wrote, and holds the matrices and the alerts against the lines.
func TestGrafana(t *testing.T) {
	t.Parallel()
	f := probeFleet(t)
	t.Run("metrics", func(t *testing.T) { checkScrapedNames(t, f.metrics) })
	t.Run("InfluxDB 1.6", func(t *testing.T) { grafanaOnInflux(t, f, servers.NewInflux16(t, nil)) })
	t.Run("InfluxDB 1.8", func(t *testing.T) { grafanaOnInflux(t, f, servers.NewInflux18(t, nil, "")) })
	t.Run("Prometheus", func(t *testing.T) {
		runDashboards(t, "prometheus", f, promSource{f.scraper.Server})
		checkScrapedAlerts(t, f, promSource{f.scraper.Server})
	})
	t.Run("VictoriaMetrics", func(t *testing.T) {
		v := servers.NewVictoria(t, nil)
		post(t, v.Server, "/write", f.text)
		v.Get("/internal/force_flush", nil)
		runDashboards(t, "victoriametrics", f, promSource{v.Server})
		checkPromAlerts(t, f, promSource{v.Server})
	})
}

func grafanaOnInflux(t *testing.T, f fleet, s *servers.Influx) {
	s.Query("", "CREATE DATABASE llama")
	post(t, s.Server, "/write?db=llama", f.text)
	runDashboards(t, "influxdb", f, influxSource{s.Server})
	checkInfluxAlerts(t, f, influxSource{s.Server})
}

func post(t *testing.T, s *servers.Server, path, text string) {
	t.Helper()
	resp, err := s.Client().Post(s.URL+path, "text/plain", strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
}

// board is what this test reads of a dashboard.
type board struct {
	UID        string
	Templating struct{ List []boardVariable }
	Panels     []boardPanel
}

type boardVariable struct {
	Name, Type, AllValue string
	Query                any
	Multi, IncludeAll    bool
	Options              []struct{ Text, Value string }
}

type boardPanel struct {
	Type, Title     string
	Targets         []boardTarget
	Transformations []struct{ ID string }
}

type boardTarget struct {
	Query, Expr, Format, ResultFormat string
	Instant                           bool
}

// readBoards decodes what is committed.
func readBoards(t *testing.T, source string) (boards []board) {
	t.Helper()
	files, err := filepath.Glob("../../deploy/grafana/dashboards/" + source + "/*.json")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var b board
		require.NoError(t, json.Unmarshal(text, &b))
		boards = append(boards, b)
	}
	return boards
}

func runDashboards(t *testing.T, source string, f fleet, s querier) {
	for _, b := range readBoards(t, source) {
		all, one := b.variables(t, f, s)
		for _, p := range b.Panels {
			for i, q := range p.Targets {
				name := fmt.Sprintf("%s, %q, query %c", b.UID, p.Title, 'A'+i)
				require.NotEmpty(t, s.run(t, all.expand(q), q, f), "%s: %s", name, all.expand(q))
				if rows := s.run(t, one.expand(q), q, f); p.Type != "stat" { // which says 0 of nothing
					require.NotEmpty(t, rows, "%s: %s", name, one.expand(q))
				}
			}
			switch {
			case p.isMatrix() && source == "prometheus":
				checkScrapedMatrix(t, f, s, b, p, all)
			case p.isMatrix():
				checkMatrix(t, f, s, b, p, all)
			}
		}
	}
}

func (p *boardPanel) isMatrix() bool {
	for _, x := range p.Transformations {
		if x.ID == "groupingToMatrix" {
			return true
		}
	}
	return false
}

// checkMatrix compares the cells with the lines, for each tag they can go by and for each figure.
func checkMatrix(t *testing.T, f fleet, s querier, b board, p boardPanel, all choices) {
	isLoss := strings.HasPrefix(p.Title, "Loss")
	figures := b.options("rtt")
	if isLoss {
		figures = figures[:1]
	}
	for _, by := range b.options("by") {
		for _, figure := range figures {
			c := all.with("by", by.Value).with("rtt", figure.Value).with("clock", "kernel")
			want := f.cells(by.Text, func(lines []line) float64 {
				if isLoss {
					return lossOfCell(lines, s.exact())
				}
				return rttOfCell(lines, figure.Value)
			})
			got := drawn(t, f, s, c, p, by.Text)
			require.Len(t, got, len(want), "%v", got)
			for at, x := range want {
				require.InDelta(t, x, got[at], 1e-6*math.Abs(x)+1e-12, "%s by %s, %s: %v", p.Title, by.Text, figure.Value, at)
			}
			if by.Text != "host" {
				continue
			}
			if isLoss {
				require.InDelta(t, -2, got[[2]string{"h2.lab", "gone.lab"}], 0, "nothing was sent")
				require.InDelta(t, -1, got[[2]string{"busy.lab", "h2.lab"}], 0, "own drops are not the network's")
			} else {
				require.InDelta(t, -1, got[[2]string{"h3.lab", "h2.lab"}], 0, "total loss is seen")
			}
		}
	}
}

// drawn are the cells of a matrix.
func drawn(t *testing.T, f fleet, s querier, c choices, p boardPanel, by string) map[[2]string]float64 {
	t.Helper()
	got := map[[2]string]float64{}
	for _, r := range s.run(t, c.expand(p.Targets[0]), p.Targets[0], f) {
		at := [2]string{tagBy(r.labels, "src", by), tagBy(r.labels, "dst", by)}
		require.NotContains(t, got, at, "a cell twice")
		got[at] = r.values[len(r.values)-1]
	}
	return got
}

// cells puts lines of llama_path where the matrix has them, by the tag, and makes one figure of each path's, the worst.
func (f *fleet) cells(by string, figure func([]line) float64) map[[2]string]float64 {
	paths := map[[2]string]map[string][]line{}
	for _, x := range f.lines {
		if x.measurement != "llama_path" {
			continue
		}
		at := [2]string{tagBy(x.tags, "src", by), tagBy(x.tags, "dst", by)}
		if paths[at] == nil {
			paths[at] = map[string][]line{}
		}
		key := x.tags["src"] + x.tags["dst"] + x.tags["clock"]
		paths[at][key] = append(paths[at][key], x)
	}
	cells := map[[2]string]float64{}
	for at, cell := range paths {
		worst := math.Inf(-1)
		for _, lines := range cell {
			worst = max(worst, figure(lines))
		}
		if !math.IsInf(worst, 0) {
			cells[at] = worst
		}
	}
	return cells
}

func tagBy(tags map[string]string, side, by string) string {
	if by == "host" {
		return tags[side]
	}
	return tags[side+"_"+by]
}

// lossOfCell is the loss of a path in windows without host drops: of all their probes if exact, else the mean of the
// windows, in which a minute with host drops counts as a whole.
func lossOfCell(lines []line, exact bool) float64 {
	type minute struct {
		sum, n float64
		drops  bool
	}
	minutes := map[int64]*minute{}
	var lost, asked, sent float64
	for _, x := range lines {
		i := x.ints
		sent += float64(i["sent"])
		if i["host_drops"] == 0 {
			lost += float64(i["lost"])
			asked += float64(i["sent"] - i["local_drop"])
		}
		end := x.at.Add(time.Minute - 1).Truncate(time.Minute).Unix()
		if minutes[end] == nil {
			minutes[end] = &minute{}
		}
		m := minutes[end]
		m.drops = m.drops || i["host_drops"] > 0
		if ratio, ok := x.floats["loss_ratio"]; ok {
			m.sum, m.n = m.sum+ratio, m.n+1
		}
	}
	var means, n float64
	for _, m := range minutes {
		if !m.drops && m.n > 0 {
			means, n = means+m.sum/m.n, n+1
		}
	}
	switch {
	case sent == 0:
		return -2
	case exact && asked > 0:
		return lost / asked
	case !exact && n > 0:
		return means / n
	}
	return -1
}

// rttOfCell is the highest figure of a path measured by the clock kernel.
func rttOfCell(lines []line, figure string) float64 {
	worst := -2.0
	for _, x := range lines {
		if x.tags["clock"] != "kernel" {
			return math.Inf(-1)
		}
		if x.ints["sent"] > 0 {
			worst = max(worst, -1)
		}
		if v, ok := x.floats[figure]; ok {
			worst = max(worst, v)
		}
	}
	return worst
}
