package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const committed = "../../deploy/grafana"

// TestCommitted: what is committed is what this program writes.
func TestCommitted(t *testing.T) {
	files, err := render(defaultTags)
	require.NoError(t, err)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(committed, name))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), "%s is not what is written: go run ./scripts/grafana", name)
	}
	require.NoError(t, filepath.WalkDir(filepath.Join(committed, "dashboards"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(committed, path)
			require.Contains(t, files, name, "nothing writes it")
		}
		return err
	}))
}

// TestModel holds what is committed against what Grafana documents of its model.
func TestModel(t *testing.T) {
	files, err := render(append(defaultTags, "pod"))
	require.NoError(t, err)
	uids := map[string]bool{}
	for name, text := range files {
		t.Run(name, func(t *testing.T) {
			var d dashboard
			require.NoError(t, json.Unmarshal(text, &d))
			require.Less(t, len(d.UID), 41)
			require.False(t, uids[d.UID], d.UID)
			uids[d.UID] = true
			require.NotContains(t, string(text[:200]), `"id":`, "the number of a dashboard is the installation's own")
			requireGrid(t, d.Panels)
			for _, p := range d.Panels {
				requirePanel(t, p)
			}
			requireVariables(t, d, string(text))
		})
	}
	for name, text := range files {
		for _, m := range regexp.MustCompile(`"/d/([^/]+)/`).FindAllStringSubmatch(string(text), -1) {
			require.True(t, uids[m[1]], "%s links to %s", name, m[1])
		}
	}
}

func requireGrid(t *testing.T, panels []panel) {
	t.Helper()
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range panels {
		require.False(t, ids[p.ID], "id %d twice", p.ID)
		ids[p.ID] = true
		g := p.GridPos
		require.Positive(t, g.W)
		require.Positive(t, g.H)
		require.LessOrEqual(t, g.X+g.W, width)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "under %q", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func requirePanel(t *testing.T, p panel) {
	t.Helper()
	require.Contains(t, []string{"row", "table", "timeseries", "stat"}, p.Type, "core panels only")
	if p.Type == "row" {
		require.Empty(t, p.Targets)
		return
	}
	require.NotEmpty(t, p.Targets, p.Title)
	require.Equal(t, "${datasource}", p.Datasource.UID)
	refs := map[string]bool{}
	for _, q := range p.Targets {
		require.False(t, refs[q.RefID])
		refs[q.RefID] = true
		require.Equal(t, p.Datasource, q.Datasource)
		require.True(t, (q.Query == "") != (q.Expr == ""), "one language")
		if p.Type != "timeseries" {
			require.Len(t, p.Targets, 1, "the transformations are for one frame")
		}
	}
}

// requireVariables: what is used is there, and what is there is used.
func requireVariables(t *testing.T, d dashboard, text string) {
	t.Helper()
	defined := map[string]bool{}
	for _, v := range d.Templating.List {
		require.False(t, defined[v.Name], v.Name)
		defined[v.Name] = true
		require.Regexp(t, `\$(\{`+v.Name+`[:}]|`+v.Name+`\b)`, text, "is of no use")
	}
	for _, m := range regexp.MustCompile(`\$\{?([a-zA-Z_]\w*)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], "__") && m[1] != "timeFilter" {
			require.True(t, defined[m[1]], "variable %s", m[1])
		}
	}
}

func TestTagsThatAreNone(t *testing.T) {
	for _, tag := range []string{"", "host", `a"b`, "a b", "1a"} {
		require.Error(t, run(t.TempDir(), []string{tag}), tag)
	}
	require.NoError(t, run(t.TempDir(), []string{"rack", "pod"}))
}
