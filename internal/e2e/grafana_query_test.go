//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// choices are what is chosen above a dashboard. all are its variables with "All"; what is in values is chosen.
type choices struct {
	variables map[string]boardVariable
	values    map[string][]string
	macros    map[string]string
}

func (c choices) with(name string, values ...string) choices {
	next := map[string][]string{name: values}
	for k, v := range c.values {
		if k != name {
			next[k] = v
		}
	}
	c.values = next
	return c
}

var (
	variableForm  = regexp.MustCompile(`\$\{(\w+)(?::(\w+))?\}|\$(\w+)`)
	regexSpecials = regexp.MustCompile(`[\\^$*+?.()|\[\]{}/]`)
	promSpecials  = regexp.MustCompile(`[\\^$*+?.()|\[\]{}]`)
)

// expand puts the values where Grafana puts them, and in its ways: "regex" and "raw" by their documentation, and in PromQL
// without a format the one of the data source, which escapes for a regular expression in a quoted string.
func (c choices) expand(q boardTarget) string {
	return variableForm.ReplaceAllStringFunc(q.Query+q.Expr, func(form string) string {
		m := variableForm.FindStringSubmatch(form)
		name, format := m[1]+m[3], m[2]
		if v, ok := c.macros[name]; ok {
			return v
		}
		v, ok := c.variables[name]
		if !ok {
			return form // $1 of label_replace
		}
		values, ok := c.values[name]
		switch {
		case !ok && v.AllValue != "":
			return v.AllValue
		case format == "regex":
			return joinAll(values, regexSpecials, `\`)
		case format == "" && q.Expr != "" && v.Multi:
			return joinAll(values, promSpecials, `\\`)
		}
		return strings.Join(values, ",")
	})
}

func joinAll(values []string, specials *regexp.Regexp, escape string) string {
	var all []string
	for _, v := range values {
		all = append(all, specials.ReplaceAllStringFunc(v, func(s string) string { return escape + s }))
	}
	if len(all) == 1 {
		return all[0]
	}
	return "(" + strings.Join(all, "|") + ")"
}

func (b *board) options(name string) []struct{ Text, Value string } {
	for _, v := range b.Templating.List {
		if v.Name == name {
			return v.Options
		}
	}
	return nil
}

// variables returns what is chosen when a dashboard is opened, and what is when one path (or agent) is chosen. It
// runs the variables' own queries: each must offer something.
func (b *board) variables(t *testing.T, f fleet, s querier) (all, one choices) {
	t.Helper()
	all = choices{variables: map[string]boardVariable{}, values: map[string][]string{}, macros: map[string]string{
		"timeFilter": fmt.Sprintf("time >= %dms and time <= %dms", f.from.UnixMilli(), f.to.UnixMilli()),
		"__interval": fleetWindow.String(), "__interval_ms": fmt.Sprint(fleetWindow.Milliseconds()), "__rate_interval": (4 * fleetWindow).String(), "__range": fmt.Sprintf("%.0fs", f.to.Sub(f.from).Seconds()),
	}}
	for _, v := range b.Templating.List {
		all.variables[v.Name] = v
	}
	for _, v := range b.Templating.List {
		switch v.Type {
		case "custom":
			all.values[v.Name] = []string{v.Options[0].Value}
		case "query":
			offered := s.offers(t, all, v)
			require.NotEmpty(t, offered, "%s: variable %s", b.UID, v.Name)
			if v.AllValue == "" { // then "All" is each of them
				all.values[v.Name] = offered
			}
		}
	}
	one = all.with("src_host", "h1.lab")
	if _, ok := all.variables["dst_host"]; ok {
		one = one.with("dst_host", "h2.lab", "no.such").with("src_rack", "r0").with("class", "be")
	}
	return all, one
}

// row is one series or one line of a table. nulls are left out.
type row struct {
	labels map[string]string
	values []float64
}

// querier is a data source as Grafana asks it.
type querier interface {
	run(t *testing.T, text string, q boardTarget, f fleet) []row
	offers(t *testing.T, c choices, v boardVariable) []string
	exact() bool // loss is of all probes, not a mean of windows
}

type influxSource struct{ *servers.Server }

func (influxSource) exact() bool { return true }

// influxSeries is one of InfluxDB's answer. Values are strings, numbers or null.
type influxSeries struct {
	Tags    map[string]string
	Columns []string
	Values  [][]any
}

func (s influxSource) ask(t *testing.T, text string) []influxSeries {
	t.Helper()
	var doc struct {
		Results []struct {
			Error  string
			Series []influxSeries
		}
	}
	dec := json.NewDecoder(bytes.NewReader(s.Post("/query", url.Values{"db": {"llama"}, "epoch": {"ms"}, "q": {text}})))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&doc), text)
	require.Len(t, doc.Results, 1, text)
	require.Empty(t, doc.Results[0].Error, text)
	return doc.Results[0].Series
}

func (s influxSource) run(t *testing.T, text string, _ boardTarget, _ fleet) (rows []row) {
	t.Helper()
	for _, x := range s.ask(t, text) {
		for _, values := range x.Values {
			r := row{labels: map[string]string{}}
			for k, v := range x.Tags {
				r.labels[k] = v
			}
			for i, c := range x.Columns[1:] {
				switch v := values[i+1].(type) {
				case string:
					r.labels[c] = v
				case json.Number:
					n, err := v.Float64()
					require.NoError(t, err)
					r.values = append(r.values, n)
				}
			}
			if len(r.values) > 0 {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

func (s influxSource) offers(t *testing.T, c choices, v boardVariable) (all []string) {
	t.Helper()
	for _, x := range s.ask(t, c.expand(boardTarget{Query: v.Query.(string)})) {
		for _, values := range x.Values {
			all = append(all, values[1].(string))
		}
	}
	return all
}

type promSource struct{ *servers.Server }

func (promSource) exact() bool { return false }

func (s promSource) run(t *testing.T, text string, q boardTarget, f fleet) (rows []row) {
	t.Helper()
	path, form := "/api/v1/query_range", url.Values{"query": {text}, "start": {seconds(f.from)}, "end": {seconds(f.to)}, "step": {fleetWindow.String()}}
	if q.Instant {
		path, form = "/api/v1/query", url.Values{"query": {text}, "time": {seconds(f.to)}}
	}
	var doc struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  []any
				Values [][]any
			}
		}
	}
	body := s.Post(path, form)
	require.NoError(t, json.Unmarshal(body, &doc), string(body))
	require.Equal(t, "success", doc.Status, "%s: %s", text, body)
	for _, x := range doc.Data.Result {
		r := row{labels: x.Metric}
		if q.Instant {
			x.Values = [][]any{x.Value}
		}
		for _, v := range x.Values {
			n, err := strconv.ParseFloat(v[1].(string), 64)
			require.NoError(t, err)
			r.values = append(r.values, n)
		}
		rows = append(rows, r)
	}
	return rows
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

func (s promSource) offers(t *testing.T, c choices, v boardVariable) []string {
	t.Helper()
	m := labelValues.FindStringSubmatch(c.expand(boardTarget{Expr: v.Query.(map[string]any)["query"].(string)}))
	require.NotNil(t, m, "%v", v.Query)
	var doc struct{ Data []string }
	require.NoError(t, json.Unmarshal(s.Get("/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}, "start": {"0"}}), &doc))
	return doc.Data
}
