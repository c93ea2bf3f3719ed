package sink

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// aside is where what cannot be delivered is kept for a person to look at, within
// bounds: the oldest goes.
//
//	refused.lp, refused.lp.1    lines that the destination refused, and why
//	poison-FILE, damaged-FILE   whole batches; poison moved back is tried again
type aside struct{ dir string }

const (
	maxRefused = 4 << 20  // octets of refused.lp; as many again of the one before it
	maxAside   = 64 << 20 // octets of whole batches
)

// refuse appends lines and the reason, as line protocol with comments, so that the
// file can be written again once it is mended.
func (a aside) refuse(now time.Time, lines [][]byte, why string) error {
	path := filepath.Join(a.dir, "refused.lp")
	text := fmt.Appendf(nil, "# %s: %s\n", now.UTC().Format(time.RFC3339), why)
	for _, line := range lines {
		text = append(text, line...)
	}
	if len(text) > maxRefused {
		text = text[:bytes.LastIndexByte(text[:maxRefused], '\n')+1]
	}
	if st, err := os.Stat(path); err == nil && st.Size()+int64(len(text)) > maxRefused {
		if err := os.Rename(path, path+".1"); err != nil {
			return fmt.Errorf("put lines aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("put lines aside: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("put lines aside: %w", err)
	}
	return nil
}

// take moves a batch's file here.
func (a aside) take(path string, why DropReason) error {
	if err := os.Rename(path, filepath.Join(a.dir, why.String()+"-"+filepath.Base(path))); err != nil {
		return fmt.Errorf("put batch aside: %w", err)
	}
	return a.trim()
}

// trim deletes the oldest batches above the bound.
func (a aside) trim() error {
	files, err := os.ReadDir(a.dir)
	if err != nil {
		return fmt.Errorf("put batch aside: %w", err)
	}
	type kept struct {
		path string
		size int64
		at   time.Time
	}
	var all []kept
	var sum int64
	for _, f := range files {
		st, err := f.Info()
		if err != nil || filepath.Ext(f.Name()) != ".gz" {
			continue
		}
		all = append(all, kept{filepath.Join(a.dir, f.Name()), blocks(st.Size()), st.ModTime()})
		sum += blocks(st.Size())
	}
	slices.SortFunc(all, func(x, y kept) int { return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.path, y.path)) })
	for _, k := range all {
		if sum <= maxAside {
			break
		}
		if err := os.Remove(k.path); err != nil {
			return fmt.Errorf("put batch aside: %w", err)
		}
		sum -= k.size
	}
	return nil
}
