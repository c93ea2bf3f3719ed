//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A lab's namespaces carry the pid and the start time (clock ticks after boot) of the process that made
// them, so that a pid that was given out again does not keep a dead process's lab alive.
var labNamespace = regexp.MustCompile(`^([a-z]+)-([0-9]+)-([0-9]+)-[0-9a-f]{8}-[a-z0-9-]+$`)

// labBrand is the first word of the names.
const labBrand = "llama"

func labPrefix() string {
	start, _ := startTime(os.Getpid()) // own /proc entry: there, or nothing here works
	return fmt.Sprintf("%s-%d-%d-", labBrand, os.Getpid(), start)
}

// Sweep removes what labs of dead processes left behind: their namespaces, and the processes in them.
func Sweep() error { return sweep(labBrand) }

func sweep(brand string) error {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep labs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		m := labNamespace.FindStringSubmatch(e.Name())
		if m == nil || m[1] != brand || ownerLives(m[2], m[3]) {
			continue
		}
		path := filepath.Join(netnsDir, e.Name())
		if err := killInside(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		errs = append(errs, removeNamespace(path))
	}
	return errors.Join(errs...)
}

func ownerLives(pid, start string) bool {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	have, err := startTime(n)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	return err != nil || strconv.FormatUint(have, 10) == start // unreadable: leave it alone
}

// startTime is field 22 of /proc/PID/stat; the command name before it may hold spaces and brackets.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start time of process %d: %d fields", pid, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
