package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a text that no log and no message shows.
type Secret string

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(secret)" }

const (
	minKey    = 16 // octets
	maxKey    = 256
	maxSecret = 4096 // octets of a file
)

// ReadKey reads the key for HMAC-SHA-256 from a file that holds it in
// hexadecimal, and that others may not open.
func ReadKey(path string) ([]byte, error) {
	s, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(string(s))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", show(path), err)
	}
	return key, nil
}

// parseKey never quotes what it reads.
func parseKey(s string) ([]byte, error) {
	key, err := hex.DecodeString(s)
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("the key is not %d to %d octets in hexadecimal", minKey, maxKey)
	}
	return key, nil
}

// readSecret reads a file that holds one secret and nothing else.
func readSecret(path string) (Secret, error) {
	st, err := os.Stat(path) // before opening it: to open a FIFO could wait for ever
	if err != nil {
		return "", pathError(path, err)
	}
	switch mode := st.Mode(); {
	case !mode.IsRegular():
		return "", fmt.Errorf("%s is not a regular file", show(path))
	case mode.Perm()&0o007 != 0:
		return "", fmt.Errorf("%s is open to all users (mode %04o): chmod 0600 it", show(path), mode.Perm())
	}
	f, err := os.Open(path)
	if err != nil {
		return "", pathError(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", pathError(path, err)
	}
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("%s is empty", show(path))
	case len(b) > maxSecret:
		return "", fmt.Errorf("%s is larger than %d octets", show(path), maxSecret)
	case bytes.ContainsAny(b, "\r\n\x00"):
		return "", fmt.Errorf("%s holds more than one line", show(path))
	}
	return Secret(b), nil
}

// pathError quotes the path, which comes from the file.
func pathError(path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", show(path), err)
}

// secretFromEnv reads a secret from a variable of the environment. Its name may be
// shown, its value never.
func secretFromEnv(name string) (Secret, error) {
	v, ok := os.LookupEnv(name)
	if !ok {
		return "", fmt.Errorf("%s is not set in the agent's environment", show(name))
	}
	s, err := parseSecret(strings.TrimSpace(v))
	if err != nil {
		return "", fmt.Errorf("what %s holds %w", show(name), err)
	}
	return s, nil
}

// keyPath is the path of a private key, that others may not open.
func (d *decoder) keyPath(s string) (string, error) {
	path, err := d.path(s)
	if err != nil {
		return "", err
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", pathError(path, err)
	}
	if mode := st.Mode().Perm(); mode&0o007 != 0 {
		return "", fmt.Errorf("%s is open to all users (mode %04o): chmod 0600 it", show(path), mode)
	}
	return path, nil
}

// path resolves a path of the file: what is relative begins at the file's folder.
func (d *decoder) path(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", errors.New("is not the path of a file")
	}
	if d.away {
		return "", errors.New("a list from elsewhere names no files of this host: name a key of reflector.keys")
	}
	if filepath.IsAbs(s) {
		return filepath.Clean(s), nil
	}
	return filepath.Join(filepath.Dir(d.file), s), nil
}

// fromFile makes a parser of a path out of a reader of the file there.
func fromFile[T any](d *decoder, read func(string) (T, error)) func(string) (T, error) {
	return func(s string) (t T, err error) {
		path, err := d.path(s)
		if err != nil {
			return t, err
		}
		d.cfg.Files = append(d.cfg.Files, path)
		return read(path)
	}
}

// inline is a key whose value is itself secret.
func inline[T any](key string, dst *T, parse func(string) (T, error)) field {
	return field{key: key, read: func(v value) {
		if v.d.env.exposed {
			v.warn("a secret in a file that all users can read: chmod 0600 it, or keep the secret in a file of its own")
		}
		readScalar(v, dst, parse)
	}}
}

func parseSecret(s string) (Secret, error) {
	if s == "" || len(s) > maxSecret || strings.ContainsAny(s, "\r\n\x00") {
		return "", fmt.Errorf("is not one line of 1 to %d octets", maxSecret)
	}
	return Secret(s), nil
}
