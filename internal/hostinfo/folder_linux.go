package hostinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Folder is where files would be kept.
type Folder struct {
	Path     string `json:"path"`
	Exists   bool   `json:"exists"`
	On       string `json:"on"`         // the nearest folder that exists
	UID      int    `json:"uid"`        // whose that is
	Mode     uint32 `json:"mode"`       // its permissions
	InMemory bool   `json:"in_memory"`  // it does not outlive a boot
	ReadOnly bool   `json:"read_only"`  // it lies on what is mounted read-only
	Writable bool   `json:"writable"`   // for this process
	Free     int64  `json:"free_bytes"` // that who is not root may still write there
	Used     int64  `json:"used_bytes"` // by the files in it
}

// ReadFolder looks at the folder, or at the nearest one above it that is there.
func ReadFolder(path string) (Folder, error) {
	f := Folder{Path: path}
	on, fsys, err := nearest(path)
	if err != nil {
		return f, err
	}
	var st unix.Stat_t
	if err := unix.Stat(on, &st); err != nil {
		return f, fmt.Errorf("look at %s: %w", on, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return f, fmt.Errorf("look at %s: %w", on, unix.ENOTDIR)
	}
	f.On, f.Exists = on, on == filepath.Clean(path)
	f.UID, f.Mode = int(st.Uid), st.Mode&0o7777
	f.InMemory = int64(fsys.Type) == unix.TMPFS_MAGIC || int64(fsys.Type) == unix.RAMFS_MAGIC
	f.ReadOnly = fsys.Flags&unix.ST_RDONLY != 0
	f.Writable = mayWrite(on)
	f.Free = int64(fsys.Bavail) * fsys.Frsize
	if f.Exists {
		f.Used = sizeOf(path)
	}
	return f, nil
}

// nearest is the path, or what is nearest above it, and the file system there.
func nearest(path string) (on string, st unix.Statfs_t, err error) {
	if !filepath.IsAbs(path) {
		return "", st, errors.New("not an absolute path")
	}
	for on = filepath.Clean(path); ; on = filepath.Dir(on) {
		switch err := unix.Statfs(on, &st); {
		case err == nil:
			return on, st, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", st, fmt.Errorf("look at %s: %w", on, err)
		}
	}
}

func mayWrite(folder string) bool {
	return unix.Faccessat(unix.AT_FDCWD, folder, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// sizeOf is what the files below a folder take, as far as they can be seen.
func sizeOf(folder string) (n int64) {
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the rest counts
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}
