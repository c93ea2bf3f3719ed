package scraper

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 10, 123, time.UTC)

func decode(t testing.TB, text string) (points []Point, refused int, err error) {
	t.Helper()
	d := decoder{now: testNow, emit: func(p []Point) { points = append(points, p...) }}
	err = d.decode(strings.NewReader(text))
	require.Len(t, points, d.points)
	return points, d.refused, err
}

// The forms of all collectors: the Go version's, whose times are the year 1 always, the
// Python version's, and this agent's.
func TestDecodeForms(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []Point
	}{
		"go": {
			`[{"fields":{"loss":0.000000,"lost":0.000000,"rtt":0.227798,"sent":121.000000},"tags":{"dst_ip":"10.0.0.2","src_ip":"10.0.0.1","rack":"07","none":""},"time":"0001-01-01T00:00:00Z","measurement":"raw_stats"}]`,
			[]Point{{"raw_stats", map[string]string{"dst_ip": "10.0.0.2", "src_ip": "10.0.0.1", "rack": "07"},
				map[string]float64{"loss": 0, "lost": 0, "rtt": 0.227798, "sent": 121}, testNow.Truncate(time.Second)}},
		},
		"python": {
			"[\n    {\n        \"fields\": {\"value\": 0.5}, \"measurement\": \"rtt\", \"tags\": {\"vlan\": 7, \"up\": true}, \"time\": 1772366400000000000\n    }," +
				`{"fields":{"value":null},"measurement":"loss","tags":{},"time":null}]`,
			[]Point{{"rtt", map[string]string{"vlan": "7", "up": "true"}, map[string]float64{"value": 0.5}, time.Unix(1772366400, 0)}},
		},
		"agent": {
			`[{"fields":{"loss":100.000000,"lost":4.000000,"sent":4.000000},"tags":{"class":"be"},"time":"2026-03-01T12:00:10Z","measurement":"raw_stats"}]` + "\n",
			[]Point{{"raw_stats", map[string]string{"class": "be"}, map[string]float64{"loss": 100, "lost": 4, "sent": 4}, time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC)}},
		},
		"before the first window": {"[]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			points, _, err := decode(t, c.text)
			require.NoError(t, err)
			require.Len(t, points, len(c.want))
			for i, p := range points {
				require.True(t, c.want[i].Time.Equal(p.Time), "%s", p.Time)
				p.Time = c.want[i].Time
				require.Equal(t, c.want[i], p)
			}
		})
	}
}

const goodPoint = `{"fields":{"rtt":1},"tags":{"a":"b"},"time":null,"measurement":"raw_stats"}`

// One point that is none costs no other.
func TestDecodeRefusesPoints(t *testing.T) {
	many := func(n int, format string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(all, ",")
	}
	for name, bad := range map[string]string{
		"null":               `null`,
		"number":             `5`,
		"array":              `[` + goodPoint + `]`,
		"other measurement":  `{"fields":{"rtt":1},"tags":{},"measurement":"llama_agent"}`,
		"a line in it":       `{"fields":{"rtt":1},"tags":{},"measurement":"raw_stats,src=evil sent=1i 1\nllama_path"}`,
		"of 10 kB":           `{"fields":{"rtt":1},"tags":{},"measurement":"` + strings.Repeat("raw_stats", 1200) + `"}`,
		"no measurement":     `{"fields":{"rtt":1},"tags":{},"measurement":""}`,
		"measurement's case": `{"fields":{"rtt":1},"tags":{},"measurement":"RAW_STATS"}`,
		"a list of them":     `{"fields":{"rtt":1},"tags":{},"measurement":["raw_stats"]}`,
		"tags are a list":    `{"fields":{"rtt":1},"tags":[],"measurement":"rtt"}`,
		"tag is a map":       `{"fields":{"rtt":1},"tags":{"a":{"b":"c"}},"measurement":"rtt"}`,
		"tag of 257 octets":  `{"fields":{"rtt":1},"tags":{"a":"` + strings.Repeat("x", 257) + `"},"measurement":"rtt"}`,
		"key of 129 octets":  `{"fields":{"rtt":1},"tags":{"` + strings.Repeat("x", 129) + `":"a"},"measurement":"rtt"}`,
		"empty key":          `{"fields":{"rtt":1},"tags":{"":"a"},"measurement":"rtt"}`,
		"65 tags":            `{"fields":{"rtt":1},"tags":{` + many(65, `"t%d":"x"`) + `},"measurement":"rtt"}`,
		"65 fields":          `{"fields":{` + many(65, `"f%d":1`) + `},"tags":{},"measurement":"rtt"}`,
		"no fields":          `{"fields":{},"tags":{},"measurement":"rtt"}`,
		"field is text":      `{"fields":{"rtt":"1"},"tags":{},"measurement":"rtt"}`,
		"field is too large": `{"fields":{"rtt":1e999},"tags":{},"measurement":"rtt"}`,
		"time is a word":     `{"fields":{"rtt":1},"tags":{},"measurement":"rtt","time":"noon"}`,
		"time is a fraction": `{"fields":{"rtt":1},"tags":{},"measurement":"rtt","time":1.5}`,
		"time is a map":      `{"fields":{"rtt":1},"tags":{},"measurement":"rtt","time":{}}`,
		"too old":            `{"fields":{"rtt":1},"tags":{},"measurement":"rtt","time":"2026-02-20T12:00:00Z"}`,
		"ahead":              `{"fields":{"rtt":1},"tags":{},"measurement":"rtt","time":"2026-03-01T13:00:00Z"}`,
		"empty object":       `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			points, refused, err := decode(t, "["+goodPoint+","+bad+","+goodPoint+"]")
			require.NoError(t, err)
			require.Len(t, points, 2)
			require.Equal(t, 1, refused)
		})
	}
}

// What is no answer is said so; points before it are not lost.
func TestDecodeRefusesAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		points     int
	}{
		"empty":    {"", "is empty", 0},
		"HTML":     {"<!DOCTYPE html><html>", "is not JSON: invalid character '<'", 0},
		"object":   {`{"error":"x"}`, "is JSON, and no array of points", 0},
		"text":     {`"ok"`, "is JSON, and no array of points", 0},
		"cut":      {"[" + goodPoint + "," + goodPoint[:20], "is not JSON at octet", 1},
		"no end":   {"[" + goodPoint, "ends too early", 1},
		"broken":   {"[" + goodPoint + ",}]", "is not JSON at octet", 1},
		"NaN":      {"[" + goodPoint + `,{"fields":{"rtt":NaN},"tags":{},"measurement":"rtt"},` + goodPoint + "]", "is not JSON at octet", 1},
		"Infinity": {"[" + goodPoint + `,{"fields":{"rtt":-Infinity},"tags":{},"measurement":"rtt"}]`, "is not JSON at octet", 1},
		"goes on":  {"[" + goodPoint + "] [", "goes on after its array", 1},
		"nested":   {strings.Repeat("[", 20_000), "is not JSON at octet", 0},
		"too many": {"[" + strings.Repeat("{},", maxPoints) + goodPoint + "]", fmt.Sprintf("has more than %d points", maxPoints), 0},
	} {
		t.Run(name, func(t *testing.T) {
			points, _, err := decode(t, c.text)
			require.ErrorContains(t, err, c.want)
			require.Len(t, points, c.points)
		})
	}
}

// Many points come in parts.
func TestDecodeInParts(t *testing.T) {
	var parts []int
	d := decoder{now: testNow, emit: func(p []Point) { parts = append(parts, len(p)) }}
	require.NoError(t, d.decode(strings.NewReader("["+strings.TrimSuffix(strings.Repeat(goodPoint+",", 2500), ",")+"]")))
	require.Equal(t, []int{1000, 1000, 500}, parts)
}

func FuzzDecode(f *testing.F) {
	f.Add("[" + goodPoint + "]")
	f.Add(`[{"fields":{"value":null},"measurement":"loss","tags":{"a":1},"time":1772366400000000000}]`)
	f.Add("[[[[")
	f.Fuzz(func(t *testing.T, text string) {
		points, _, _ := decode(t, text)
		for _, p := range points {
			require.True(t, measurements[p.Measurement])
			require.NotEmpty(t, p.Fields)
			require.LessOrEqual(t, len(p.Tags), maxTags)
			require.False(t, p.Time.IsZero())
		}
	})
}
