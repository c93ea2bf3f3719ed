package sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// FolderName is the name of the folder of a sink in a spool, for ever the same for the
// same place: readable, and told apart by a hash.
func FolderName(place string) string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, place)
	for strings.Contains(readable, "--") {
		readable = strings.ReplaceAll(readable, "--", "-")
	}
	sum := sha256.Sum256([]byte(place))
	return strings.Trim(readable[:min(len(readable), 64)], "-.") + "-" + hex.EncodeToString(sum[:6])
}

// folderName is what FolderName gives.
var folderName = regexp.MustCompile(`^[0-9A-Za-z._-]*-[0-9a-f]{12}$`)

// Leftover is a folder of a sink that is no longer configured.
type Leftover struct {
	Sink    string
	Path    string
	Batches int
	Bytes   int64
	Oldest  time.Time // zero: no batch
}

// Sweep looks at the folders in a spool that are not among used, names those that hold
// batches, and deletes what is older than maxAge in them, at last the folders.
// What another process uses is left alone.
func Sweep(root string, used map[string]bool, maxAge time.Duration) (left []Leftover, err error) {
	dirs, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for what is left in the spool: %w", err)
	}
	var errs []error
	for _, d := range dirs {
		path := filepath.Join(root, d.Name())
		if used[d.Name()] || !d.IsDir() || !folderName.MatchString(d.Name()) {
			continue
		}
		if _, err := os.Stat(filepath.Join(path, "sink")); err != nil {
			continue // not ours
		}
		l, err := sweepOne(path, maxAge)
		if l != nil {
			left = append(left, *l)
		}
		if err != nil && !errors.Is(err, errLocked) {
			errs = append(errs, err)
		}
	}
	return left, errors.Join(errs...)
}

func sweepOne(path string, maxAge time.Duration) (l *Leftover, err error) {
	lock, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	f := &folder{path: path}
	now := time.Now()
	found, err := f.scan(now)
	if err != nil {
		return nil, fmt.Errorf("look for what is left in the spool: %w", err)
	}
	name, _ := os.ReadFile(filepath.Join(path, "sink")) // without it the path says enough
	l = &Leftover{Sink: strings.TrimSpace(string(name)), Path: path}
	var errs []error
	for _, e := range found {
		if now.Sub(e.at) > maxAge {
			errs = append(errs, f.remove(e.file))
			continue
		}
		if l.Batches == 0 {
			l.Oldest = e.at
		}
		l.Batches++
		l.Bytes += e.size
	}
	if l.Batches > 0 {
		return l, errors.Join(errs...)
	}
	if st, err := os.Stat(path); err == nil && now.Sub(st.ModTime()) > maxAge {
		errs = append(errs, f.delete())
	}
	return nil, errors.Join(errs...)
}

// delete removes a folder that holds no batch, with what was put aside, and nothing
// that is not the spool's.
func (f *folder) delete() error {
	set := filepath.Join(f.path, "aside")
	var files []string
	for _, pattern := range []string{"refused.lp*", "poison-*" + fileSuffix, "damaged-*" + fileSuffix} {
		found, _ := filepath.Glob(filepath.Join(set, pattern)) // its only error is the pattern's
		files = append(files, found...)
	}
	var errs []error
	for _, path := range append(files, set, filepath.Join(f.path, "sink"), filepath.Join(f.path, "lock"), f.path) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// SweepLog sweeps now and then until ctx ends, and says what it finds.
func SweepLog(ctx context.Context, root string, used map[string]bool, maxAge time.Duration, log *slog.Logger) error {
	said := limiter{every: 24 * time.Hour}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		left, err := Sweep(root, used, maxAge)
		if err != nil {
			log.Warn("spool", "err", err)
		}
		if len(left) > 0 {
			if _, ok := said.allow(time.Now()); ok {
				for _, l := range left {
					log.Warn("the spool holds batches of a sink that is no longer configured: they are deleted when they are too old",
						"sink", l.Sink, "path", l.Path, "batches", l.Batches, "octets", l.Bytes, "oldest", l.Oldest, "max_age", maxAge)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
