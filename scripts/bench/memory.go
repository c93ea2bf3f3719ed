package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// own is the memory in MB that is the process's own: resident and backed by no file. Its
// program and the kernel's maps that it has mapped are not in it.
func (p *process) own() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read own memory: %w", err)
	}
	kB, ok := fieldOf(string(text), "RssAnon:")
	if !ok {
		return 0, errors.New("read own memory: none there")
	}
	return kB * 1024 / 1e6, nil
}

// most is the most own memory while fn runs, looked at ten times a second.
func (p *process) most(fn func() error) (mb float64, err error) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			if now, err := p.own(); err == nil {
				mb = max(mb, now)
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	err = fn()
	close(stop)
	<-done
	return mb, err
}

// kernelMaps is the memory in MB that the kernel has for the BPF maps that the process
// has open.
func (p *process) kernelMaps() (mb float64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p.cmd.Process.Pid))
	seen := map[float64]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it was closed
		}
		id, isMap := fieldOf(string(text), "map_id:")
		if octets, ok := fieldOf(string(text), "memlock:"); ok && isMap && !seen[id] {
			seen[id] = true
			mb += octets / 1e6
		}
	}
	return mb
}

// fieldOf finds the number after a name, as the kernel writes them.
func fieldOf(text, name string) (float64, bool) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			v, err := strconv.ParseFloat(f[1], 64)
			return v, err == nil
		}
	}
	return 0, false
}
