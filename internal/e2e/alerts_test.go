//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

const alerts = "../../deploy/alerts/"

// fires says whether a row has these labels.
func fires(rows []row, labels map[string]string) bool {
	for _, r := range rows {
		all := true
		for k, v := range labels {
			all = all && r.labels[k] == v
		}
		if all {
			return true
		}
	}
	return false
}

// checkAlerts holds alerts against what happened in the fleet. ask runs one by its name, as if it were that time.
func checkAlerts(t *testing.T, f fleet, ask func(alert string, at time.Time) []row) {
	lossy, dead, busy := map[string]string{"src": "h1.lab", "dst": "h2.lab"}, map[string]string{"src": "h3.lab", "dst": "h2.lab"}, map[string]string{"src": "busy.lab"}
	loss := ask("LlamaLoss", f.to)
	require.True(t, fires(loss, lossy))
	require.True(t, fires(loss, dead))
	require.False(t, fires(loss, busy), "own drops are not the network's")
	silent := ask("LlamaNoReply", f.to)
	require.True(t, fires(silent, dead))
	require.False(t, fires(silent, lossy))
	require.True(t, fires(ask("LlamaNotSent", f.to), map[string]string{"src": "h2.lab"}))
	require.Empty(t, ask("LlamaLatencyShift", f.to), "there is no yesterday")
}

// checkSilence: who has written lately, and nothing since, has ended.
func checkSilence(t *testing.T, f fleet, ask func(alert string, at time.Time) []row) {
	require.Empty(t, ask("LlamaAgentDead", f.to))
	require.Len(t, ask("LlamaAgentDead", f.to.Add(10*time.Minute)), 3)
}

var alertQuery = regexp.MustCompile(`(?m)^-- (Llama\w+):`)

// checkInfluxAlerts runs the queries of deploy/alerts, at a time that takes the place of now().
func checkInfluxAlerts(t *testing.T, f fleet, s influxSource) {
	text, err := os.ReadFile(alerts + "influxdb.influxql")
	require.NoError(t, err)
	queries := map[string]string{}
	for q := range strings.SplitSeq(string(text), ";\n") {
		if m := alertQuery.FindStringSubmatch(q); m != nil {
			queries[m[1]] = q
		}
	}
	require.Len(t, queries, strings.Count(string(text), ";\n"))
	ask := func(alert string, at time.Time) []row {
		require.Contains(t, queries, alert)
		return s.run(t, strings.ReplaceAll(queries[alert], "now()", fmt.Sprintf("'%s'", at.UTC().Format(time.RFC3339))), boardTarget{}, f)
	}
	for alert := range queries {
		ask(alert, f.to)
	}
	checkAlerts(t, f, ask)
	checkSilence(t, f, ask)

	// One host drops packets itself in each of ten minutes; busy.lab has not existed for so long.
	drops := ""
	for minute := range 10 {
		drops += fmt.Sprintf("llama_path,src=drops.lab,dst=h2.lab,family=4,class=be,clock=kernel host_drops=1i %d\n", f.to.Add(-time.Duration(minute)*time.Minute-30*time.Second).UnixNano())
	}
	post(t, s.Server, "/write?db=llama", drops)
	dropping := ask("LlamaHostDrops", f.to)
	require.True(t, fires(dropping, map[string]string{"src": "drops.lab"}))
	require.False(t, fires(dropping, map[string]string{"src": "busy.lab"}))
	require.Len(t, ask("LlamaDeliveryLate", f.to)[0].values, 2, "an age of each sink")

	// A day later one path takes ten times as long, and one twice as long and yet not 50 µs more.
	later := ""
	for _, x := range f.lines {
		if p50, ok := x.floats["rtt_p50_us"]; ok && x.tags["src"] == "h1.lab" && x.tags["dst"] == "h3.lab" {
			later += fmt.Sprintf("llama_path,src=h1.lab,dst=h3.lab,family=4,class=be,clock=%s rtt_p50_us=%f %d\n", x.tags["clock"], 10*p50+50, x.at.Add(24*time.Hour).UnixNano())
		}
	}
	for day, p50 := range []int{20, 40} {
		later += fmt.Sprintf("llama_path,src=h1.lab,dst=near.lab,family=4,class=be,clock=kernel rtt_p50_us=%d %d\n", p50, f.to.Add(time.Duration(day)*24*time.Hour-time.Minute).UnixNano())
	}
	post(t, s.Server, "/write?db=llama", later)
	shifted := ask("LlamaLatencyShift", f.to.Add(24*time.Hour))
	require.True(t, fires(shifted, map[string]string{"src": "h1.lab", "dst": "h3.lab", "clock": "kernel"}))
	require.False(t, fires(shifted, map[string]string{"dst": "near.lab"}))
}

// promRules lets Prometheus read a file of rules, and returns them, and how each is asked of the database that has the metrics.
func promRules(t *testing.T, s promSource, file string) (queries map[string]string, ask func(alert string, at time.Time) []row) {
	file, err := filepath.Abs(alerts + file)
	require.NoError(t, err)
	p := servers.NewPrometheus(t, nil, fmt.Sprintf("rule_files: [%q]\n", file))
	var doc struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Query string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(p.Get("/api/v1/rules", nil), &doc))
	queries = map[string]string{}
	for _, g := range doc.Data.Groups {
		for _, r := range g.Rules {
			queries[r.Name] = r.Query
		}
	}
	return queries, func(alert string, at time.Time) []row {
		require.Contains(t, queries, alert)
		return s.run(t, queries[alert], boardTarget{Instant: true}, fleet{to: at})
	}
}

// checkPromAlerts holds the rules over what agents push against what happened.
func checkPromAlerts(t *testing.T, f fleet, s promSource) {
	queries, ask := promRules(t, s, "pushed.rules.yml")
	for alert := range queries {
		ask(alert, f.to)
	}
	checkAlerts(t, f, ask)
	checkSilence(t, f, ask)
	require.True(t, fires(ask("LlamaLoss", f.to), map[string]string{"src": "h1.lab", "dst": "h2.lab", "direction": "forward"}))
}

// checkScrapedAlerts does so with the rules over what was scraped.
func checkScrapedAlerts(t *testing.T, f fleet, s promSource) {
	queries, ask := promRules(t, s, "scraped.rules.yml")
	for alert := range queries {
		ask(alert, f.to)
	}
	checkAlerts(t, f, ask)

	// Against half of today's mean every path has shifted: those with native histograms, and busy.lab's with classic ones.
	queries["LlamaLatencyShift"] = strings.NewReplacer("[1h] offset 1d", "[10m]", "1.5 *", "0.5 *", "5e-05", "0").Replace(queries["LlamaLatencyShift"])
	shifted := ask("LlamaLatencyShift", f.to)
	for _, src := range []string{"h1.lab", "busy.lab"} {
		require.True(t, fires(shifted, map[string]string{"src": src, "dst": "h3.lab", "clock": "kernel"}), "%s: %v", src, shifted)
	}
	least, _ := f.between([2]string{"h1.lab", "h3.lab"}, "rtt_min_us")
	_, most := f.between([2]string{"h1.lab", "h3.lab"}, "rtt_max_us")
	for _, r := range shifted {
		if r.labels["dst"] == "h3.lab" && r.labels["src"] != "h2.lab" {
			require.True(t, least <= 1e6*r.values[0] && 1e6*r.values[0] <= most, "%v; %v to %v µs", r, least, most)
		}
	}
}

// checkScrapedNames: whatever the rules for scraped metrics ask for, an agent's /metrics has. promtool has their cases.
func checkScrapedNames(t *testing.T, metrics string) {
	text, err := os.ReadFile(alerts + "scraped.rules.yml")
	require.NoError(t, err)
	asked := regexp.MustCompile(`llama_(path|agent)_[a-z_.+()]*[a-z]`).FindAllString(string(text), -1)
	require.Greater(t, len(asked), 20)
	for _, name := range asked {
		require.Regexp(t, `(?m)\b`+name+`\b`, metrics)
	}
	require.Contains(t, metrics, `direction="unsplit"`)
	require.Contains(t, metrics, `reason="no_route"`)
}
