package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// A store keeps unpacked kernels outside the repository: kernels/RELEASE/{vmlinuz,lib/modules/RELEASE}.
type store struct {
	dir string
	apt *apt
	log io.Writer
}

func openStore(log io.Writer) (*store, error) {
	cache, err := os.UserCacheDir() // XDG_CACHE_HOME, or ~/.cache
	if err != nil {
		return nil, fmt.Errorf("find cache folder: %w", err)
	}
	dir := filepath.Join(cache, "llama-vm-test")
	if err := os.MkdirAll(filepath.Join(dir, "kernels"), 0o755); err != nil {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	return &store{dir: dir, apt: &apt{dir: filepath.Join(dir, "apt"), log: log}, log: log}, nil
}

// resolve finds the newest kernel of each line.
func (s *store) resolve(ctx context.Context, lines []string) (found []kernel, err error) {
	unlock, err := lock(filepath.Join(s.dir, "lock"), true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.apt.update(ctx, false); err != nil {
		return nil, err
	}
	all, err := s.apt.kernels(ctx)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		k, err := newestOf(all, line)
		if err != nil {
			return nil, err
		}
		found = append(found, k)
	}
	return found, nil
}

// fetch returns the folder of a kernel, downloaded if need be. Mirrors drop packages that were replaced: then the lists
// are renewed, and the kernel may be a newer one.
func (s *store) fetch(ctx context.Context, k *kernel) (dir string, err error) {
	unlock, err := lock(filepath.Join(s.dir, "lock"), true)
	if err != nil {
		return "", err
	}
	defer unlock()
	if dir, ok := s.have(k); ok {
		return dir, nil
	}
	err = s.get(ctx, k)
	if err == nil || ctx.Err() != nil {
		return s.folder(k), err
	}
	fmt.Fprintf(s.log, "vm-test: %v\nvm-test: once more with new lists\n", err)
	if err := s.apt.update(ctx, true); err != nil {
		return "", err
	}
	all, err := s.apt.kernels(ctx)
	if err != nil {
		return "", err
	}
	if *k, err = newestOf(all, k.line); err != nil {
		return "", err
	}
	if dir, ok := s.have(k); ok {
		return dir, nil
	}
	return s.folder(k), s.get(ctx, k)
}

// folder is named by the version too: Debian rebuilds a release under the same name.
func (s *store) folder(k *kernel) string {
	return filepath.Join(s.dir, "kernels", k.release+"_"+k.version)
}

func (s *store) have(k *kernel) (string, bool) {
	dir := s.folder(k)
	_, err := os.Stat(filepath.Join(dir, "vmlinuz"))
	return dir, err == nil
}

// get downloads and unpacks in a folder of its own, which takes its name once it is whole.
func (s *store) get(ctx context.Context, k *kernel) (err error) {
	fmt.Fprintln(s.log, "vm-test: downloading", k.release)
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "kernels"), ".new-")
	if err != nil {
		return fmt.Errorf("make cache: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := s.apt.download(ctx, k, tmp); err != nil {
		return err
	}
	root := filepath.Join(tmp, "root")
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != len(k.packages) {
		return fmt.Errorf("download kernel %s: %d packages came, want %d", k.release, len(debs), len(k.packages))
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, out)
		}
	}
	whole := filepath.Join(tmp, "whole")
	if err := arrange(ctx, root, whole, k.release); err != nil {
		return fmt.Errorf("unpack kernel %s: %w", k.release, err)
	}
	if err := os.RemoveAll(s.folder(k)); err != nil {
		return fmt.Errorf("make cache: %w", err)
	}
	return os.Rename(whole, s.folder(k))
}

// arrange picks what is used, in one place: from 7.3 on the kernel lies beside its modules, and all of it under usr.
func arrange(ctx context.Context, root, whole, release string) error {
	modules := filepath.Join("lib/modules", release)
	to := filepath.Join(whole, modules)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, from := range []string{filepath.Join(root, modules), filepath.Join(root, "usr", modules)} {
		if err := moveAll(from, to); err != nil {
			return err
		}
	}
	vmlinuz := filepath.Join(whole, "vmlinuz")
	if err := os.Rename(filepath.Join(to, "vmlinuz"), vmlinuz); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(filepath.Join(root, "boot/vmlinuz-"+release), vmlinuz); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	// The packages have no modules.dep: it is made where they are installed.
	if out, err := exec.CommandContext(ctx, "depmod", "-b", whole, release).CombinedOutput(); err != nil {
		return fmt.Errorf("depmod: %w: %s", err, out)
	}
	_, err := readModules(to)
	return err
}

// moveAll moves what a folder holds; there may be none.
func moveAll(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return err
}
