package sink

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SpoolOptions say where a queue keeps its batches.
type SpoolOptions struct {
	Path     string        // a folder of the queue's own; "": in memory
	Sync     bool          // a batch is accepted once the disk itself has it, not only the kernel
	MaxBytes int64         // octets on disk (1 GiB)
	MaxAge   time.Duration // of a batch (7 days)
}

// errLocked says that another process has the folder.
var errLocked = errors.New("another process uses it")

// folder is an open folder of a spool: a file for each batch, compressed by gzip,
// whose CRC-32 and length tell whether it is whole.
//
//	SEQ-MILLISECONDS-LINES.lp.gz   a batch: order, time of acceptance, lines
//	*.tmp                          a batch that was being written
//	aside/                         what could not be delivered
//	lock, sink                     the owner's lock; the sink's name
type folder struct {
	path string
	sync bool
	seq  uint64 // of the last file
	lock *os.File
	aside
}

const (
	fileSuffix = ".lp.gz"
	tmpSuffix  = ".tmp"
	blockSize  = 4096 // what a file takes on disk is a multiple of it
)

// openFolder locks a folder, made if need be, and returns what waits in it, oldest
// first.
func openFolder(path, sink string, sync bool) (*folder, []*entry, error) {
	f := &folder{path: path, sync: sync, aside: aside{dir: filepath.Join(path, "aside")}}
	if err := os.MkdirAll(f.aside.dir, 0o750); err != nil {
		return nil, nil, fmt.Errorf("open spool: %w", err)
	}
	var err error
	if f.lock, err = lockFolder(path); err != nil {
		return nil, nil, err
	}
	found, err := f.scan(time.Now())
	if err == nil {
		err = os.WriteFile(filepath.Join(path, "sink"), []byte(sink+"\n"), 0o640)
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) { // a full disk can still be read
		return nil, nil, errors.Join(fmt.Errorf("open spool: %w", err), f.close())
	}
	return f, found, nil
}

func lockFolder(path string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("lock spool %s: %w", path, joinClose(err, lock))
	}
	return lock, nil
}

// close lets another process have the folder.
func (f *folder) close() error { return f.lock.Close() }

// scan lists the batches and removes what was being written when a process died:
// it was never accepted.
func (f *folder) scan(now time.Time) ([]*entry, error) {
	files, err := os.ReadDir(f.path)
	if err != nil {
		return nil, err
	}
	type numbered struct {
		seq uint64
		*entry
	}
	var found []numbered
	for _, file := range files {
		if strings.HasSuffix(file.Name(), tmpSuffix) {
			_ = os.Remove(filepath.Join(f.path, file.Name())) // the next start tries again
			continue
		}
		seq, e, ok := parseFileName(file.Name())
		if !ok || !file.Type().IsRegular() {
			continue
		}
		if st, err := file.Info(); err == nil {
			e.size = blocks(st.Size())
		}
		if e.at.After(now) { // the clock has been set back: it is as old as now
			e.at = now
		}
		found = append(found, numbered{seq, e})
	}
	slices.SortFunc(found, func(a, b numbered) int { return cmp.Compare(a.seq, b.seq) })
	entries := make([]*entry, len(found))
	for i, n := range found {
		entries[i] = n.entry
		f.seq = n.seq
	}
	return entries, nil
}

func blocks(size int64) int64 { return max(size+blockSize-1, blockSize) / blockSize * blockSize }

func parseFileName(name string) (seq uint64, e *entry, ok bool) {
	base, isBatch := strings.CutSuffix(name, fileSuffix)
	parts := strings.Split(base, "-")
	if !isBatch || len(parts) != 3 {
		return 0, nil, false
	}
	seq, err := strconv.ParseUint(parts[0], 10, 62)
	ms, err2 := strconv.ParseInt(parts[1], 10, 62)
	lines, err3 := strconv.ParseUint(parts[2], 10, 31)
	if errors.Join(err, err2, err3) != nil {
		return 0, nil, false
	}
	at := time.UnixMilli(ms)
	return seq, &entry{at: at, due: at, lines: int(lines), file: name, gz: true}, true
}

// put writes the compressed lines of e. Once it returns the file is whole, under its
// final name.
func (f *folder) put(e *entry, body []byte) (name string, size int64, err error) {
	f.seq++
	name = fmt.Sprintf("%012d-%d-%d%s", f.seq, e.at.UnixMilli(), e.lines, fileSuffix)
	path := filepath.Join(f.path, name)
	err = f.write(path+tmpSuffix, body)
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(f.aside.dir, 0o750) == nil { // somebody has emptied the disk
		err = f.write(path+tmpSuffix, body)
	}
	if err != nil {
		_ = os.Remove(path + tmpSuffix) // the write's error says more
		return "", 0, fmt.Errorf("write to spool: %w", err)
	}
	if err := os.Rename(path+tmpSuffix, path); err != nil {
		_ = os.Remove(path + tmpSuffix)
		return "", 0, fmt.Errorf("write to spool: %w", err)
	}
	if f.sync {
		if err := syncFolder(f.path); err != nil {
			_ = os.Remove(path)
			return "", 0, fmt.Errorf("write to spool: %w", err)
		}
	}
	return name, blocks(int64(len(body))), nil
}

func (f *folder) write(path string, body []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(body)
	if err == nil && f.sync {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// read returns the octets of a file, of which no more than size and a block are
// asked for.
func (f *folder) read(name string, size int64) ([]byte, error) {
	path := filepath.Join(f.path, name)
	st, err := os.Stat(path)
	if err == nil && st.Size() > size {
		return nil, &damageError{fmt.Errorf("%s has grown", name)}
	}
	var body []byte
	if err == nil {
		body, err = os.ReadFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = &damageError{err}
	}
	return body, err
}

// remove deletes a file; one that is gone is no error.
func (f *folder) remove(name string) error {
	err := os.Remove(filepath.Join(f.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
