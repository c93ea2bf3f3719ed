package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// File appends to a file, whole lines only.
type File struct {
	path string

	mu sync.Mutex // protects the fields below
	f  *os.File
}

// NewFile opens path for appending and creates it if it is not there.
func NewFile(path string) (*File, error) {
	f, err := openAppend(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, f: f}, nil
}

// Name names the file.
func (w *File) Name() string { return "file " + w.path }

// Reopen opens the path anew and goes on there: what rotation moved away is
// complete then. If that fails the present file stays in use.
func (w *File) Reopen() error {
	f, err := openAppend(w.path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	old := w.f
	w.f = f
	w.mu.Unlock()
	return old.Close()
}

// Write appends b. What a failed write put into a regular file is taken back, so
// that a full disk does not leave half a line.
func (w *File) Write(_ context.Context, b Batch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.f.Write(b.Data)
	if err == nil {
		return nil
	}
	if n > 0 {
		if st, serr := w.f.Stat(); serr == nil && st.Mode().IsRegular() {
			_ = w.f.Truncate(max(st.Size()-int64(n), 0)) // the write's error says more
		}
	}
	return fmt.Errorf("append to %s: %w", w.path, err)
}

// Close closes the file.
func (w *File) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.f.Close()
}

// TryFile says why NewFile would fail, and makes nothing.
func TryFile(path string) error {
	if err := tryKind(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_RDWR, 0)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	folder := filepath.Dir(path)
	if err := unix.Faccessat(unix.AT_FDCWD, folder, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "make a file in", Path: folder, Err: err}
	}
	return nil
}

// tryKind: a named pipe would block the opening until somebody reads it.
func tryKind(path string) error {
	if st, err := os.Stat(path); err == nil && st.Mode()&(fs.ModeNamedPipe|fs.ModeDir|fs.ModeSocket) != 0 {
		return fmt.Errorf("open %s: neither a file nor a device", path)
	}
	return nil
}

func openAppend(path string) (*os.File, error) {
	if err := tryKind(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	if err := endLine(f); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, joinClose(err, f))
	}
	return f, nil
}

// endLine ends a line that a crash cut short, so that the next one is whole.
func endLine(f *os.File) error {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.Write([]byte{'\n'})
	return err
}

func joinClose(err error, f *os.File) error {
	if cerr := f.Close(); cerr != nil {
		return fmt.Errorf("%w (and closing it: %w)", err, cerr)
	}
	return err
}
