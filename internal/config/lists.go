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
	Files     []string  // patterns of paths, see [filepath.Match]
	URLs      []URLList // then these
	SRV       []SRVList // and these
	State     string    // folder for copies of what is elsewhere; "": none are kept
	MaxShrink float64   // share of a source's targets that may go at a reload
	Listed    int       // targets that the lists add
	Lists     []List    // what became of each source, in order
}

// URLList is a list behind a URL.
type URLList struct {
	URL      string
	CA       string // file; "": the system's authorities
	Token    Secret
	Interval time.Duration
}

// SRVList is a service in DNS (RFC 2782), each of whose hosts is a target.
type SRVList struct {
	Name     string
	Tags     map[string]string // of all of them
	Interval time.Duration
}

// List is what became of one source of targets: a pattern of files, a URL, or a name in DNS.
type List struct {
	Source   string
	Targets  int       // in force
	Refused  int       // entries that are left out
	Problems []Problem // why they are, at most maxTold
	Fault    string    // why there is nothing new of it, or of one of its files; "" if all is
	HeldBack string    // why the new one is not in force, although it could be read; "" if it is
	Good     time.Time // of files: when it was last read, and is in force as it was then; zero: never
	parts    []part    // in force
	away     bool      // it is not of this host
	tags     map[string]string
}

// part is a file of a source, as it was when it could last be read.
type part struct {
	name string
	data []byte
	root *yaml.Node // nil: not parsed now, or empty
}

// Fetched gives what a list elsewhere said last, or its copy in a folder (state, "" for none); nil if there is neither.
type Fetched func(state, source string) []byte

const (
	maxListed    = 100_000
	maxListFiles = 1000
	maxTold      = 100 // problems of a source that are kept
	maxElsewhere = 32  // lists, of URLs and of SRV
)

func (d *decoder) targetsFromFields(l *TargetsFrom) []field {
	return []field{
		listOf("files", &l.Files, d.pattern),
		{key: "urls", read: d.urlLists, each: "[]", sub: d.urlFields(new(URLList))},
		{key: "srv", read: d.srvLists, each: "[]", sub: srvFields(new(SRVList))},
		scalar("state", &l.State, d.path),
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
	for _, u := range from.URLs {
		r.add(List{Source: u.URL, away: true}, r.fetched)
	}
	for _, s := range from.SRV {
		r.add(List{Source: s.Name, away: true, tags: s.Tags}, r.fetched)
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
		old := l
		old.parts, old.Refused, old.Problems = before.parts, 0, nil
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
	if l.Good = before.Good; !l.away && l.Fault == "" && l.HeldBack == "" {
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

// fetched is what a list elsewhere said last.
func (r *listReader) fetched(l, before *List) []part {
	var data []byte
	if f := r.d.env.fetched; f != nil {
		data = f(r.d.cfg.TargetsFrom.State, l.Source)
	}
	if data == nil {
		return before.parts
	}
	p, err := parsePart(l.Source, data)
	if err != nil {
		l.fault(err)
		return before.parts
	}
	return []part{p}
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
