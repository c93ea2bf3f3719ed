package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// TargetsFrom says where more targets are listed. Unlike the file, a list is taken entry by
// entry: it is written by others, and one mistake in it must not silence a fleet.
type TargetsFrom struct {
	Files     []string // patterns of paths, see [filepath.Match]
	MaxShrink float64  // share of a source's targets that may go at a reload
	Listed    int      // targets that the lists add
	Lists     []List   // what became of each source, in order
}

// List is what became of one source of targets: a pattern of files.
type List struct {
	Source   string
	Targets  int       // in force
	Refused  int       // entries that are left out
	Problems []Problem // why they are, at most maxTold
	Fault    string    // why there is nothing new of it, or of one of its files; "" if all is
	HeldBack string    // why the new one is not in force, although it could be read; "" if it is
	Good     time.Time // when it was last read, and is in force as it was then; zero: never
	parts    []part    // in force
}

// part is a file of a source, as it was when it could last be read.
type part struct {
	name string
	data []byte
	root *yaml.Node // nil: not parsed now, or empty
}

// Fetched gives what a list elsewhere said last; nil if that is not known.
type Fetched func(source string) []byte

const (
	maxListed    = 100_000
	maxListFiles = 1000
	maxTold      = 100 // problems of a source that are kept
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
	from := &d.cfg.TargetsFrom
	r := &listReader{d: d, room: newRoom(d), read: map[string]bool{}, left: maxFile}
	for _, pattern := range from.Files {
		r.add(List{Source: pattern}, r.files)
	}
	from.Listed = r.room.listed
}

// listReader reads one source after the other.
type listReader struct {
	d    *decoder
	room *room
	read map[string]bool // files
	left int             // octets of all files
}

// add takes what read finds of a source, or what was in force before.
func (r *listReader) add(l List, read func(l, before *List) []part) {
	before := r.before(l.Source)
	l.parts = read(&l, before)
	in := r.judge(&l)
	if len(in) < before.Targets {
		r.room.release(in)
		// What is no longer allowed is gone whoever lists it: both are judged by today's file.
		old := List{Source: l.Source, Fault: l.Fault, parts: before.parts}
		kept, most := r.judge(&old), r.d.cfg.TargetsFrom.MaxShrink
		if float64(len(kept)-len(in)) > most*float64(len(kept)) {
			old.HeldBack = fmt.Sprintf("names %d targets, and %d before: more are gone than max_shrink: %g allows; if that is meant, set max_shrink: 1 and reload",
				len(in), len(kept), most)
			l, in = old, kept
		} else {
			r.room.release(kept)
			r.room.take(in)
		}
	}
	if l.Good = before.Good; l.Fault == "" && l.HeldBack == "" {
		l.Good = time.Now()
	}
	l.Targets = len(in)
	for i, p := range l.parts {
		if r.d.env.digest != nil {
			_, _ = r.d.env.digest.Write(p.data) // a hash.Hash never fails
		}
		l.parts[i].root = nil
	}
	for i := range in {
		r.d.cfg.Targets = append(r.d.cfg.Targets, in[i].Target)
	}
	r.d.cfg.TargetsFrom.Lists = append(r.d.cfg.TargetsFrom.Lists, l)
}

// before is what was known of a source; empty if nothing was.
func (r *listReader) before(source string) *List {
	if c := r.d.env.before; c != nil {
		for i := range c.TargetsFrom.Lists {
			if l := &c.TargetsFrom.Lists[i]; l.Source == source {
				return l
			}
		}
	}
	return &List{}
}

// files reads the files that a pattern names now.
func (r *listReader) files(l, before *List) (parts []part) {
	paths, _ := filepath.Glob(l.Source) // the pattern was tried
	if len(paths) == 0 {
		r.d.finding(true, "no file is named "+show(l.Source), "targets_from.files")
	}
	for _, path := range paths {
		if r.read[path] {
			continue
		}
		if r.read[path] = true; len(r.read) > maxListFiles {
			l.fault(fmt.Errorf("more than %d files", maxListFiles))
			break
		}
		p, err := r.file(path)
		if err != nil {
			l.fault(err)
			i := slices.IndexFunc(before.parts, func(p part) bool { return p.name == path })
			if i < 0 {
				continue
			}
			p = before.parts[i]
		}
		parts = append(parts, p)
	}
	return parts
}

func (r *listReader) file(path string) (part, error) {
	data, err := readRegular(path, r.left)
	if err != nil {
		return part{}, fmt.Errorf("%s: %w", path, err)
	}
	r.left -= len(data)
	return parsePart(path, data)
}

// fault notes why something of a list is not to be had: the first reason.
func (l *List) fault(err error) {
	if l.Fault == "" {
		l.Fault = err.Error()
	}
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
