package watch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type watched struct {
	*Files
	dir     string
	changes atomic.Int64
	t       *testing.T
}

func watching(t *testing.T, patterns ...string) *watched {
	w := &watched{t: t, dir: t.TempDir()}
	var err error
	w.Files, err = New(func() { w.changes.Add(1) }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return w
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

func (w *watched) write(name, text string) {
	w.t.Helper()
	require.NoError(w.t, os.MkdirAll(filepath.Dir(w.path(name)), 0o700))
	require.NoError(w.t, os.WriteFile(w.path(name), []byte(text), 0o600))
}

// after does something that changes the files, and waits until that is told.
func (w *watched) after(what string, do func()) {
	w.t.Helper()
	before := w.changes.Load()
	do()
	require.Eventually(w.t, func() bool { return w.changes.Load() > before }, 30*time.Second, 5*time.Millisecond, what)
	time.Sleep(2 * quiet) // until the last of it is told
}

func TestEveryWayToChangeAFile(t *testing.T) {
	w := watching(t)
	w.write("a.yaml", "1")
	w.Use([]string{w.path("a.yaml"), w.path("d/*.yaml"), w.path("no/such/folder/*.yaml")})
	w.after("in place", func() { w.write("a.yaml", "2") })
	w.after("renamed", func() { w.write("b", "3"); require.NoError(t, os.Rename(w.path("b"), w.path("a.yaml"))) })
	w.after("a folder and a file", func() { w.write("d/x.yaml", "1") })
	w.after("another file", func() { w.write("d/y.yaml", "1") })
	w.after("one less", func() { require.NoError(t, os.Remove(w.path("d/x.yaml"))) })
	w.after("a whole path", func() { w.write("no/such/folder/x.yaml", "1") })
	w.after("removed", func() { require.NoError(t, os.Remove(w.path("a.yaml"))) })
	w.after("there again", func() { w.write("a.yaml", "4") })

	before := w.changes.Load()
	w.write("other", "1")
	w.write("d/other", "1")
	w.after("the file", func() { w.write("a.yaml", "5") })
	require.Equal(t, before+1, w.changes.Load(), "nothing is told of other files")
}

// As Kubernetes mounts a ConfigMap: names are links to ..data/NAME, and ..data is a link that is replaced.
func TestSwappedLinks(t *testing.T) {
	w := watching(t)
	swap := func(to string) {
		require.NoError(t, os.Symlink(to, w.path("map/..data_tmp")))
		require.NoError(t, os.Rename(w.path("map/..data_tmp"), w.path("map/..data")))
	}
	w.write("map/..1/a.yaml", "1")
	w.write("map/..2/a.yaml", "2")
	swap("..1")
	require.NoError(t, os.Symlink("..data/a.yaml", w.path("map/a.yaml")))
	require.NoError(t, os.Symlink("map", w.path("link")))
	w.Use([]string{w.path("link/*.yaml")})
	w.after("swapped", func() { swap("..2") })
	w.after("cleaned up, and again", func() {
		require.NoError(t, os.RemoveAll(w.path("map/..1")))
		w.write("map/..3/a.yaml", "3")
		swap("..3")
	})
	w.after("in place, behind links", func() { w.write("map/..3/a.yaml", "4") })
	w.after("a link on the way", func() {
		w.write("other/a.yaml", "5")
		require.NoError(t, os.Remove(w.path("link")))
		require.NoError(t, os.Symlink("other", w.path("link")))
	})
	w.after("there", func() { w.write("other/a.yaml", "6") })
}

// A ring of links ends.
func TestRingOfLinks(t *testing.T) {
	w := watching(t)
	require.NoError(t, os.Symlink("b", w.path("a")))
	require.NoError(t, os.Symlink("a", w.path("b")))
	w.Use([]string{w.path("a")})
	w.after("a file", func() { require.NoError(t, os.Remove(w.path("a"))); w.write("a", "1") })
}
