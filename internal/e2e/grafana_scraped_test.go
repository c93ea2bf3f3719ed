//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// fleetScrapes has the agents of the fleet scraped with native histograms, and one more, busy.lab, with classic ones.
const fleetScrapes = `
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: llama
    static_configs:
      - {targets: ["10.77.1.2:5000"], labels: {instance: h1.lab}}
      - {targets: ["10.77.2.2:5000"], labels: {instance: h2.lab}}
      - {targets: ["10.77.3.2:5000"], labels: {instance: h3.lab}}
      - {targets: ["127.0.0.1:5999"], labels: {instance: busy.lab}}
`

var hostDrops = regexp.MustCompile(`(?m)^(llama_path_host_drops_total\{.*\}) .*$`)

// serveBusy serves h1's metrics, as text, as those of a host that says that it drops packets itself all the time:
// what [fleet.ownDrops] does to its lines.
func serveBusy(t *testing.T, h1 *running) {
	t.Helper()
	var drops atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, page, err := h1.request("/metrics")
		if err != nil { // it has ended
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		page = strings.ReplaceAll(page, `src="h1.lab"`, `src="busy.lab"`)
		page = hostDrops.ReplaceAllString(page, fmt.Sprintf("${1} %d", drops.Add(7)))
		_, _ = rw.Write([]byte(page))
	})}
	var l net.Listener
	require.NoError(t, h1.host.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:5999")
		return err
	}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { require.NoError(t, server.Close()) })
}

// checkScrapedMatrix holds the cells against the lines. A counter begins with the first scrape, and a figure is of all that
// was scraped together: so it lies within what the windows say.
func checkScrapedMatrix(t *testing.T, f fleet, s querier, b board, p boardPanel, all choices) {
	isLoss := strings.HasPrefix(p.Title, "Loss")
	figures := map[string]string{"0.99": "rtt_p99_us", "0.5": "rtt_p50_us", "0.9": "rtt_p90_us", "0.999": "rtt_p999_us"}
	require.Len(t, b.options("rtt"), len(figures))
	for _, by := range b.options("by") {
		for _, figure := range b.options("rtt") {
			c := all.with("by", by.Value).with("rtt", figure.Value).with("clock", "kernel")
			got := drawn(t, f, s, c, p, by.Text)
			want := f.cells(by.Text, func(lines []line) float64 {
				if isLoss {
					return lossOfCell(lines, true)
				}
				return rttOfCell(lines, figures[figure.Value])
			})
			if by.Text == "host" {
				want[[2]string{"busy.lab", "h3.lab"}] = -1 // of which there is no line
			}
			require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)), "%s by %s: %v", p.Title, by.Text, got)
			if by.Text != "host" {
				continue
			}
			for at, x := range got {
				text := fmt.Sprintf("%s, %s: %v is %v, lines say %v", p.Title, figure.Text, at, x, want[at])
				switch {
				case x < 0 || isLoss && want[at] < 0:
					require.InDelta(t, want[at], x, 0, text)
				case isLoss && want[at] == 1:
					require.InDelta(t, 1, x, 0.02, text)
				case isLoss:
					require.True(t, f.lossOfSome(at, x), text)
				case at[0] == "busy.lab": // a classic bucket is up to 2.5 times as wide as its lower end
					low, high := f.between([2]string{"h1.lab", at[1]}, figures[figure.Value])
					require.True(t, low/2.5 <= x && x <= 2.5*high, "%s; %v to %v", text, low, high)
				default: // a native one is 9 % wide
					low, high := f.between(at, figures[figure.Value])
					require.True(t, 0.8*low <= x && x <= 1.25*high, "%s; %v to %v", text, low, high)
				}
			}
		}
	}
}

// lossOfSome tells whether some windows of a path that follow each other had about that loss: which were scraped is not known,
// and in the first ones the other hosts have not begun. Prometheus extrapolates each counter by itself.
func (f *fleet) lossOfSome(at [2]string, loss float64) bool {
	var windows []line
	for _, x := range f.lines {
		if x.measurement == "llama_path" && x.tags["src"] == at[0] && x.tags["dst"] == at[1] {
			windows = append(windows, x)
		}
	}
	for from := range windows {
		for to := range windows[from:] {
			if math.Abs(lossOfCell(windows[from:from+to+1], true)-loss) <= 0.2*loss+0.005 {
				return true
			}
		}
	}
	return false
}

// between is the least and the most that the windows of a path say.
func (f *fleet) between(at [2]string, figure string) (low, high float64) {
	for _, x := range f.lines {
		v, ok := x.floats[figure]
		if !ok || x.measurement != "llama_path" || x.tags["src"] != at[0] || x.tags["dst"] != at[1] {
			continue
		}
		if low == 0 || v < low {
			low = v
		}
		high = max(high, v)
	}
	return low, high
}
