package hostinfo

import (
	"fmt"
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
	on, st, err := nearest(path)
	if err != nil {
		return p, fmt.Errorf("pin folder %q: %w", path, err)
	}
	p.On, p.Exists = on, on == filepath.Clean(path)
	p.BPFFS = int64(st.Type) == unix.BPF_FS_MAGIC
	p.ReadOnly = st.Flags&unix.ST_RDONLY != 0
	p.Writable = mayWrite(on)
	return p, nil
}
