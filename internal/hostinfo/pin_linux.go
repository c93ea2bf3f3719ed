package hostinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PinFolder is where maps and links would be pinned.
type PinFolder struct {
	Path     string `json:"path"`
	Exists   bool   `json:"exists"`
	On       string `json:"on"`        // the nearest folder that exists
	BPFFS    bool   `json:"bpffs"`     // it lies in a bpffs
	ReadOnly bool   `json:"read_only"` // it lies on what is mounted read-only
	Writable bool   `json:"writable"`  // for this process
}

// ReadPinFolder looks at the folder, or at the nearest one above it that is there.
func ReadPinFolder(path string) (PinFolder, error) {
	p := PinFolder{Path: path}
	if !filepath.IsAbs(path) {
		return p, fmt.Errorf("pin folder %q: not an absolute path", path)
	}
	var st unix.Statfs_t
	for p.On = filepath.Clean(path); ; p.On = filepath.Dir(p.On) {
		err := unix.Statfs(p.On, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("pin folder %q: look at %s: %w", path, p.On, err)
		}
	}
	p.Exists = p.On == filepath.Clean(path)
	p.BPFFS = int64(st.Type) == unix.BPF_FS_MAGIC
	p.ReadOnly = st.Flags&unix.ST_RDONLY != 0
	p.Writable = unix.Faccessat(unix.AT_FDCWD, p.On, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
	return p, nil
}
