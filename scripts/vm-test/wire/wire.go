// Package wire is what the runner and a guest's init tell each other: the plan goes in with the initramfs, events come
// out on the second serial port, between the lines of the tests.
package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// PlanPath is where init finds the plan.
const PlanPath = "/etc/vm-test.json"

// Plan is what a guest does.
type Plan struct {
	Modules []Module
	Env     []string
	Runs    []Run
}

// Module is one kernel module; modules come in the order of loading.
type Module struct{ Name, Path, Params string }

// Run is one test binary.
type Run struct {
	Package string
	Dir     string // where it runs, as `go test` runs it in its package's folder
	Binary  string
	Args    []string
	Seconds int // after that it is killed: more than its own -test.timeout
}

// Event is one step of a guest.
type Event struct {
	Kind    Kind
	Package string  `json:",omitempty"`
	Text    string  `json:",omitempty"`
	Status  int     `json:",omitempty"` // of the test binary
	Seconds float64 `json:",omitempty"`
}

// Kind says what happened.
type Kind string

// The kinds of events.
const (
	Boot    Kind = "boot"    // Text: the kernel's release
	Problem Kind = "problem" // Text: what the guest could not do
	Begin   Kind = "begin"   // Package begins
	End     Kind = "end"     // Package ended, with Status, after Seconds
	Done    Kind = "done"    // everything was run
)

// prefix marks an event's line: a control character that tests do not print.
const prefix = "\x1evm "

// Write writes an event as a line of its own, also after output without a line's end.
func Write(w io.Writer, e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	_, err = fmt.Fprintf(w, "\n%s%s\n", prefix, b)
	return err
}

// Parse returns the event of a line, if it is one.
func Parse(line []byte) (e Event, ok bool) {
	b, ok := bytes.CutPrefix(line, []byte(prefix))
	if !ok {
		return e, false
	}
	return e, json.Unmarshal(b, &e) == nil
}
