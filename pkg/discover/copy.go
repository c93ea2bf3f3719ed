package discover

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// header is the first line of a copy; the list follows. When it was last good is the file's time.
type header struct {
	Name     string `json:"name"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
	SHA256   string `json:"sha256"`
}

const maxHeader = 8 << 10

func copyPath(dir, name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(dir, hex.EncodeToString(sum[:8])+".list")
}

// readCopy reads the copy of a list; one that is not there has no data. What is damaged is none.
func readCopy(dir, name string) (c listCopy, err error) {
	if dir == "" {
		return c, nil
	}
	f, err := os.Open(copyPath(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read copy: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return c, fmt.Errorf("read copy: %w", err)
	}
	all, err := io.ReadAll(io.LimitReader(f, maxHeader+MaxBytes))
	if err != nil {
		return c, fmt.Errorf("read copy: %w", err)
	}
	first, data, _ := bytes.Cut(all, []byte("\n"))
	var h header
	if json.Unmarshal(first, &h) != nil || h.Name != name || h.SHA256 != sumOf(data) {
		return c, fmt.Errorf("read copy %s: damaged", f.Name())
	}
	return listCopy{data: append([]byte{}, data...), etag: h.ETag, modified: h.Modified, good: st.ModTime()}, nil
}

// writeCopy replaces the copy of a list, whole or not at all.
func writeCopy(dir, name string, c listCopy) (err error) {
	head, err := json.Marshal(header{name, c.etag, c.modified, sumOf(c.data)})
	if err != nil {
		return fmt.Errorf("write copy: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write copy: %w", err)
	}
	f, err := os.OpenFile(copyPath(dir, name)+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write copy: %w", err)
	}
	_, err = f.Write(append(append(head, '\n'), c.data...))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = errors.Join(os.Chtimes(f.Name(), c.good, c.good), os.Rename(f.Name(), copyPath(dir, name)))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write copy: %w", err)
	}
	return nil
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
