package stamp

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testName = regexp.MustCompile("`(?:([a-z/-]+): )?((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	statuses = []string{"met", "operator", "no demand", "not used", "pending", "not done"}
)

// testsOfTree are the names of all tests, as "folder: name".
func testsOfTree(t *testing.T, root string) map[string]bool {
	all := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, m := range testFunc.FindAllStringSubmatch(string(src), -1) {
			all[filepath.ToSlash(dir)+": "+m[1]] = true
		}
		return err
	}))
	return all
}

// The table of docs/stamp.md: rows are numbered without a gap, name tests that
// exist wherever they claim to be met, and add up to the totals stated.
func TestConformanceTable(t *testing.T) {
	root := filepath.Join("..", "..")
	doc, err := os.ReadFile(filepath.Join(root, "docs", "stamp.md"))
	require.NoError(t, err)
	tests := testsOfTree(t, root)
	require.True(t, tests["internal/stamp: TestConformanceTable"], "the tree is searched")

	count := map[string]map[string]int{"8762": {}, "8972": {}}
	stated := map[string]string{}
	for _, line := range strings.Split(string(doc), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if rfc, ok := strings.CutPrefix(cells[0], "RFC "); ok && strings.HasPrefix(line, "|") {
			stated[rfc] = strings.Join(cells[1:], " ")
		}
		rfc, no, isRow := strings.Cut(cells[0], "-")
		if !isRow || count[rfc] == nil {
			continue
		}
		require.Len(t, cells, 6, line)
		count[rfc]["rows"]++
		require.Equal(t, fmt.Sprint(count[rfc]["rows"]), no, "numbered without a gap")
		require.Contains(t, statuses, cells[4], line)
		count[rfc][cells[4]]++
		named := testName.FindAllStringSubmatch(cells[5], -1)
		if cells[4] == "met" {
			require.NotEmpty(t, named, "met, but shown by nothing: %s", line)
		}
		for _, m := range named {
			pkg := m[1]
			if pkg == "" {
				pkg = "internal/stamp"
			}
			require.True(t, tests[pkg+": "+m[2]], "no such test: %s in %s", m[2], pkg)
		}
	}
	for rfc, c := range count {
		want := fmt.Sprint(c["rows"])
		for _, s := range statuses {
			want += fmt.Sprintf(" %d", c[s])
		}
		require.Equal(t, want, stated[rfc], "totals of RFC %s", rfc)
	}
}
