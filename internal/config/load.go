package config

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// Load reads a configuration file. A mistake in it gives an error of type
// [Errors], which holds all of them. A mistake in a list of targets gives none: see
// [TargetsFrom].
func Load(path string) (*Config, error) { return LoadAfter(path, nil, nil) }

// LoadAfter is Load at a reload: where a list is not to be had, or has lost too many
// targets, that of before stays in force. fetched gives what a list elsewhere said last,
// nil if that is not known.
func LoadAfter(path string, before *Config, fetched Fetched) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	sum := sha256.New()
	_, _ = sum.Write(data) // a hash.Hash never fails
	e := env{digest: sum, before: before, fetched: fetched, hostname: os.Hostname, ephemeral: ephemeralPorts(), connected: connectedPrefixes()}
	if st, err := f.Stat(); err == nil {
		e.exposed = st.Mode().IsRegular() && st.Mode().Perm()&0o004 != 0
	}
	cfg, err := parse(path, data, e)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("find configuration: %w", err)
	}
	cfg.Files = append(cfg.Files, path)
	cfg.Files = append(cfg.Files, cfg.TargetsFrom.Files...)
	cfg.Hash = binary.BigEndian.Uint64(sum.Sum(nil)) >> 16
	return cfg, nil
}

// Parse reads a configuration; name stands in messages, and relative paths
// begin at its folder. Unlike [Load] it does not look at this host's ephemeral
// ports and addresses, which warnings depend on.
func Parse(name string, data []byte) (*Config, error) {
	return parse(name, data, env{hostname: os.Hostname})
}

func parse(name string, data []byte, e env) (*Config, error) {
	root, p := document(name, data)
	if p != nil {
		return nil, Errors{*p}
	}
	d := newDecoder(name, e)
	if root != nil {
		top := value{d: d}
		top.child(root, nil, "").section(d.schema())
	}
	for _, f := range d.later {
		f()
	}
	d.assignPaths()
	d.hostName()
	d.cfg.check(e, d.finding)
	if err := d.errors(); err != nil {
		return nil, err
	}
	d.readLists()
	d.cfg.Warnings = tidy(d.warnings)
	return d.cfg, nil
}

// Validate checks what depends on several values together, for callers that
// change a configuration, as flags do. The error is of type [Errors], without
// positions.
func (c *Config) Validate() error {
	var all Errors
	c.check(env{}, func(warn bool, text string, paths ...string) {
		if !warn {
			all = append(all, Problem{Path: paths[0], Text: text})
		}
	})
	if len(all) == 0 {
		return nil
	}
	return all
}

// hostName takes the system's name where the file gives none.
func (d *decoder) hostName() {
	const path = "host.name"
	if d.cfg.Host.Name != "" || d.bad[path] {
		return
	}
	name, err := d.env.hostname()
	if err == nil {
		err = checkText(name)
	}
	if err != nil {
		d.finding(false, fmt.Sprintf("not given, and the system's is not usable: %v", err), path, "host")
	}
	d.cfg.Host.Name = name
}

// connectedPrefixes is what the interfaces have now. Only a warning depends on
// it; what may be probed is decided at run time.
func connectedPrefixes() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var ps []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ps = append(ps, p.Masked())
		}
	}
	return ps
}
