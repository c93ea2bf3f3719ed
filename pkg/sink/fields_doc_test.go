package sink

import (
	"os"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented reads docs/fields.md: every table row that begins with a name in
// backquotes, by the measurement of its heading and by whether the sub-heading is
// about tags or fields.
func documented(t *testing.T) map[string]bool {
	data, err := os.ReadFile("../../docs/fields.md")
	require.NoError(t, err)
	row := regexp.MustCompile("^\\| `([^`]+)` \\|")
	measurement := regexp.MustCompile("^## `(llama_[a-z]+)`")
	out := map[string]bool{}
	var section, kind string
	for _, text := range strings.Split(string(data), "\n") {
		switch {
		case strings.HasPrefix(text, "## "):
			section, kind = "", ""
			if m := measurement.FindStringSubmatch(text); m != nil {
				section = m[1]
			}
		case strings.HasPrefix(text, "### "):
			kind = strings.ToLower(strings.Fields(text)[1])
		}
		if m := row.FindStringSubmatch(text); m != nil && section != "" {
			key := section + " " + kind + " " + m[1]
			require.False(t, out[key], "%s is documented twice", key)
			out[key] = true
		}
	}
	return out
}

// emitted is what the encoder writes if everything has a value.
func emitted(t *testing.T) map[string]bool {
	p := flowPath()
	swept := sweptPath()
	p.Sizes, p.EqualPaths = swept.Sizes, swept.EqualPaths
	p.OneWay = swept.OneWay
	for i := range p.FlowDetail {
		p.FlowDetail[i] = p.FlowDetail[0]
	}
	e := NewEncoder(testHost, EncoderOptions{Flows: true, Log: quiet()})
	out, _, err := e.Window(nil, window(p))
	require.NoError(t, err)
	fields := append(e.Stats().Fields(), Stats{}.Fields("sink_sinkname_")...)
	out, _, err = e.Agent(out, &AgentStats{Time: testEnd, Fields: fields})
	require.NoError(t, err)
	names := map[string]bool{}
	for _, l := range decode(t, out) {
		for k := range l.tags {
			for _, host := range []map[string]string{testHost.Tags, p.DstTags} {
				for name := range host {
					if k == "src_"+name || k == "dst_"+name {
						k = k[:4] + "<tag>"
					}
				}
			}
			names[l.measurement+" tags "+k] = true
		}
		for k := range l.fields {
			names[l.measurement+" fields "+strings.ReplaceAll(k, "sinkname", "<sink>")] = true
		}
	}
	return names
}

// The reference and the encoder say the same, in both directions.
func TestFieldsAreDocumented(t *testing.T) {
	keys := func(m map[string]bool) []string {
		out := make([]string, 0, len(m))
		for k := range m {
			out = append(out, k)
		}
		sort.Strings(out)
		return out
	}
	require.Equal(t, keys(emitted(t)), keys(documented(t)))
}
