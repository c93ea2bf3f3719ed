//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// point is a line in one form whoever wrote it down.
type point struct {
	measurement string
	tags        map[string]string
	fields      map[string]string // numbers as fieldText writes them
	kinds       map[string]string // of fields; nil from a database, whose answer does not tell
	at          time.Time
}

// parsePoints decodes line protocol.
func parsePoints(t testing.TB, lines string) (all []point) {
	t.Helper()
	for d := lineprotocol.NewDecoderWithBytes([]byte(lines)); d.Next(); {
		m, err := d.Measurement()
		require.NoError(t, err)
		p := point{string(m), map[string]string{}, map[string]string{}, map[string]string{}, time.Time{}}
		for {
			k, v, err := d.NextTag()
			require.NoError(t, err)
			if k == nil {
				break
			}
			p.tags[string(k)] = string(v)
		}
		for {
			k, v, err := d.NextField()
			require.NoError(t, err)
			if k == nil {
				break
			}
			p.fields[string(k)], p.kinds[string(k)] = fieldText(t, strings.TrimSuffix(v.String(), "i")), v.Kind().String()
		}
		p.at, err = d.Time(lineprotocol.Nanosecond, time.Time{})
		require.NoError(t, err)
		require.False(t, p.at.IsZero(), "no time")
		all = append(all, p)
	}
	return all
}

// fieldText is the shortest text of a number.
func fieldText(t testing.TB, s string) string {
	t.Helper()
	return strconv.FormatFloat(number(t, s), 'f', -1, 64)
}

func number(t testing.TB, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return f
}

// series is what two different points never share.
func (p *point) series() string { return fmt.Sprint(p.measurement, p.tags, p.at.UnixNano()) }

func (p *point) String() string {
	return fmt.Sprint(p.measurement, " ", p.tags, " ", p.fields, " ", p.kinds, " ", p.at.UnixNano()) // maps by key
}

// points is the points of lines, sorted: two lists are equal where what was written is.
func points(t testing.TB, lines string) (all []string) {
	t.Helper()
	for _, p := range parsePoints(t, lines) {
		all = append(all, p.String())
	}
	slices.Sort(all)
	return all
}

// isTag tells columns of a database apart. Fields that are called src_… or dst_… there are none.
func isTag(column string) bool {
	return slices.Contains([]string{"src", "dst", "family", "class", "clock"}, column) ||
		strings.HasPrefix(column, "src_") || strings.HasPrefix(column, "dst_")
}

// inInflux is all points of a database.
func inInflux(t testing.TB, s *servers.Influx, db string) (all []point) {
	t.Helper()
	for _, m := range s.Query(db, "SHOW MEASUREMENTS") {
		name := m["name"].(string)
		kinds := map[string]string{"integer": "int", "float": "float"}
		kind := map[string]string{}
		for _, row := range s.Query(db, fmt.Sprintf("SHOW FIELD KEYS FROM %q", name)) {
			kind[row["fieldKey"].(string)] = kinds[row["fieldType"].(string)]
		}
		for _, row := range s.Query(db, fmt.Sprintf("SELECT * FROM %q GROUP BY *", name)) {
			p := point{name, map[string]string{}, map[string]string{}, map[string]string{}, time.Time{}}
			for column, v := range row {
				switch text := v.(string); {
				case column == "time":
					ns, err := strconv.ParseInt(text, 10, 64)
					require.NoError(t, err)
					p.at = time.Unix(0, ns)
				case text == "": // this series has no such tag
				case isTag(column):
					p.tags[column] = text
				default:
					p.fields[column], p.kinds[column] = fieldText(t, text), kind[column]
				}
			}
			all = append(all, p)
		}
	}
	return all
}

// inVictoria is all points of a database. It keeps no kinds, and of the time milliseconds.
func inVictoria(t testing.TB, v *servers.Victoria, db string) []point {
	t.Helper()
	byPoint := map[string]point{}
	for _, s := range v.Export(`{__name__=~"llama_.+"}`) {
		require.Equal(t, db, s.Metric["db"])
		var measurement, field string
		for _, m := range []string{"llama_path", "llama_flow", "llama_size", "llama_agent"} {
			if f, ok := strings.CutPrefix(s.Metric["__name__"], m+"_"); ok {
				measurement, field = m, f
			}
		}
		tags := maps.Clone(s.Metric)
		delete(tags, "db")
		delete(tags, "__name__")
		for i, ms := range s.Timestamps {
			p := point{measurement: measurement, tags: tags, fields: map[string]string{}, at: time.UnixMilli(ms)}
			if known, ok := byPoint[p.series()]; ok {
				p = known
			}
			require.NotContains(t, p.fields, field, "two values of one time: %s", p.series())
			p.fields[field] = strconv.FormatFloat(s.Values[i], 'f', -1, 64)
			byPoint[p.series()] = p
		}
	}
	return slices.Collect(maps.Values(byPoint))
}
