// Package watch tells when files have changed, whichever way they are changed: written in place, renamed, or behind a symbolic
// link that is swapped, as Kubernetes does with a ConfigMap.
package watch

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	quiet    = 300 * time.Millisecond // without news, before files are looked at: a change is seldom one event
	patience = 3 * time.Second        // at most, while news goes on
	maxDirs  = 1000                   // that are watched
)

// Files watches files, and those that patterns name now or later. A nil one watches none.
type Files struct {
	notify  *fsnotify.Watcher
	changed func()
	log     *slog.Logger

	mu       sync.Mutex // protects the fields below
	patterns []string
	seen     string // what the files were like last
	told     bool   // a folder could not be watched
}

// New returns a watch of no files. changed must not wait.
func New(changed func(), log *slog.Logger) (*Files, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	return &Files{notify: w, changed: changed, log: log}, nil
}

// Use makes these the files. Of other ones than before, it begins with how they are now: call it as soon as they are
// read, since a change in between is only told with the next.
func (f *Files) Use(patterns []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	same := slices.Equal(f.patterns, patterns)
	f.patterns = slices.Clone(patterns)
	f.follow()
	if !same {
		f.seen = f.look()
	}
}

// Run waits for changes until ctx ends.
func (f *Files) Run(ctx context.Context) error {
	defer f.notify.Close()
	never := make(<-chan time.Time)
	settled, first := never, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-f.notify.Events:
			if !ok {
				return nil
			}
			if settled == never {
				first = time.Now()
			}
			settled = time.After(max(0, min(quiet, patience-time.Since(first))))
		case err := <-f.notify.Errors:
			f.log.Warn("watching files", "error", err) // such as news lost: so look
			settled = time.After(quiet)
		case <-settled:
			settled = never
			if f.differ() {
				f.changed()
			}
		}
	}
}

// differ tells whether the files are not as they were last, and watches what has come.
func (f *Files) differ() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.follow()
	now := f.look()
	differs := now != f.seen
	f.seen = now
	return differs
}

// follow watches the folders in which something may happen to the files. That a folder is gone is
// news of the one above it.
func (f *Files) follow() {
	wanted := map[string]bool{}
	for _, p := range f.patterns {
		for _, dir := range dirsOf(p) {
			wanted[dir] = true
		}
	}
	for _, dir := range f.notify.WatchList() {
		if !wanted[dir] {
			_ = f.notify.Remove(dir) // it may be gone
		}
	}
	n := 0
	for dir := range wanted {
		var err error
		if n++; n > maxDirs {
			err = fmt.Errorf("more than %d folders", maxDirs)
		} else {
			err = f.notify.Add(dir)
		}
		if err != nil && !f.told {
			f.told = true
			f.log.Warn("watching files: changes in a folder are not seen", "folder", dir, "error", err)
		}
	}
}

// dirsOf is the folders of all names and links on the way to what a pattern names, as far as they are there.
func dirsOf(pattern string) (dirs []string) {
	paths, _ := filepath.Glob(pattern)
	for _, path := range append(paths, pattern) {
		links := 0
		walk(path, &links, &dirs)
	}
	return dirs
}

// maxLinks is the kernel's.
const maxLinks = 40

// walk goes to path, name by name.
func walk(path string, links *int, dirs *[]string) {
	at := "/"
	names := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for i, name := range names {
		next := filepath.Join(at, name)
		st, err := os.Lstat(next)
		switch {
		case err != nil: // not there, or a pattern: what comes here is news
			*dirs = append(*dirs, at)
			return
		case st.Mode()&fs.ModeSymlink != 0:
			*dirs = append(*dirs, at)
			to, err := os.Readlink(next)
			if *links++; err != nil || *links > maxLinks {
				return
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(at, to)
			}
			walk(filepath.Join(append([]string{to}, names[i+1:]...)...), links, dirs)
			return
		case !st.IsDir() || i == len(names)-1:
			*dirs = append(*dirs, at)
			return
		}
		at = next
	}
}

// look is what the files are like: which there are, and of each all that a change changes.
func (f *Files) look() string {
	var b strings.Builder
	for _, pattern := range f.patterns {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if st, err := os.Stat(path); err == nil {
				fmt.Fprintf(&b, "%q %d %d %v\n", path, st.Size(), st.ModTime().UnixNano(), identity(st))
			}
		}
	}
	return b.String()
}
