package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// TargetsFrom says where more targets are listed.
type TargetsFrom struct {
	Files     []string // patterns of paths, see [filepath.Match]
	MaxShrink float64  // share of the listed targets that may go at a reload
	Listed    int      // targets that the lists name
}

const (
	maxListed    = 100_000
	maxListFiles = 1000
)

func (d *decoder) targetsFromFields(l *TargetsFrom) []field {
	return []field{
		listOf("files", &l.Files, d.pattern),
		scalar("max_shrink", &l.MaxShrink, number(0, 1)),
	}
}

func (d *decoder) pattern(s string) (string, error) {
	if _, err := filepath.Match(s, ""); err != nil {
		return "", fmt.Errorf("%s is not a pattern of paths: *, ? and [a-z] stand for what they do in a shell", show(s))
	}
	return d.path(s)
}

// readLists adds the targets of all lists to those of the file, which the lists
// cannot change.
func (d *decoder) readLists() {
	l := &d.cfg.TargetsFrom
	named := make(map[string]string, len(d.cfg.Targets)) // file by target
	for i := range d.cfg.Targets {
		named[d.cfg.Targets[i].Name] = d.file
	}
	read := map[string]bool{}
	left := maxFile
	for _, pattern := range l.Files {
		paths, _ := filepath.Glob(pattern) // the pattern was tried
		if len(paths) == 0 {
			d.finding(true, "no file is named "+show(pattern), "targets_from.files")
		}
		for _, path := range paths {
			if read[path] {
				continue
			}
			read[path] = true
			if len(read) > maxListFiles {
				d.finding(false, fmt.Sprintf("more than %d files", maxListFiles), "targets_from.files")
				return
			}
			targets, size := d.readList(path, left, named)
			left -= size
			if l.Listed += len(targets); l.Listed > maxListed {
				d.finding(false, fmt.Sprintf("more than %d targets in lists", maxListed), "targets_from.files")
				return
			}
			d.cfg.Targets = append(d.cfg.Targets, targets...)
		}
	}
}

// readList reads one list: a map of the same form as targets. Its size in octets is
// left at most. What is wrong in it is told with its own lines.
func (d *decoder) readList(path string, left int, named map[string]string) (_ []probe.Target, size int) {
	data, err := readRegular(path, left)
	if err != nil {
		d.problems = append(d.problems, Problem{File: path, Text: err.Error()})
		return nil, 0
	}
	if d.env.digest != nil {
		_, _ = d.env.digest.Write(data) // a hash.Hash never fails
	}
	root, p := document(path, data)
	if p != nil {
		d.problems = append(d.problems, *p)
	}
	if root == nil {
		return nil, len(data)
	}
	sub := newDecoder(path, d.env)
	sub.keys = d.keys
	top := value{d: sub}
	sub.targets(top.child(root, nil, "targets"))
	for _, f := range sub.later {
		f()
	}
	for i := range sub.cfg.Targets {
		name, at := sub.cfg.Targets[i].Name, targetPath(&sub.cfg.Targets[i])
		if file, again := named[name]; again && file != path {
			sub.put(sub.given[at], at, "given already in "+show(file)+": remove one")
		}
		named[name] = path
	}
	d.problems = append(d.problems, sub.problems...)
	d.warnings = append(d.warnings, sub.warnings...)
	return sub.cfg.Targets, len(data)
}

// readRegular reads a file of at most so many octets. It does not wait for a pipe.
func readRegular(path string, most int) ([]byte, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("stat list: %w", errors.Unwrap(err))
	case !st.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open list: %w", errors.Unwrap(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read list: %w", err)
	case len(data) > most:
		return nil, fmt.Errorf("all lists together are larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// Shrunk tells whether the lists have lost more targets since old than they may: a
// list that was cut short must not silence a fleet's monitoring. Lists that are no
// longer named at all were given up on purpose.
func (c *Config) Shrunk(old *Config) error {
	was, is := old.TargetsFrom.Listed, c.TargetsFrom.Listed
	if len(c.TargetsFrom.Files) == 0 || float64(was-is) <= c.TargetsFrom.MaxShrink*float64(was) {
		return nil
	}
	return fmt.Errorf("targets_from: the lists name %d targets, and %d before: more are gone than max_shrink: %g allows; if that is meant, set max_shrink: 1 and reload, or restart",
		is, was, c.TargetsFrom.MaxShrink)
}
