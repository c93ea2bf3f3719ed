package main

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// maxLogged bounds what the log has of one list's entries at a load.
const maxLogged = 5

// logLists says what is not in force of the lists.
func logLists(lists []config.List, log *slog.Logger) {
	for _, l := range lists {
		if l.Fault != "" {
			log.Error("list of targets not to be had: it stays as it was", "list", l.Source, "targets", l.Targets, "error", l.Fault)
		}
		if l.HeldBack != "" {
			log.Error("list of targets held back: it stays as it was", "list", l.Source, "targets", l.Targets, "error", l.HeldBack)
		}
		for _, p := range l.Problems[:min(len(l.Problems), maxLogged)] {
			log.Error("entry of a list left out", "entry", p.String())
		}
		if l.Refused > maxLogged {
			log.Error("entries of a list left out", "list", l.Source, "entries", l.Refused)
		}
	}
}

// listsOutcome is what the lists make of a reload that was done.
func listsOutcome(lists []config.List) reloadOutcome {
	switch {
	case slices.ContainsFunc(lists, func(l config.List) bool { return l.HeldBack != "" }):
		return reloadHeldBack
	case slices.ContainsFunc(lists, func(l config.List) bool { return l.Fault != "" }):
		return reloadPartial
	}
	return reloadDone
}

// A listState is what /status/lists says of a list.
type listState struct {
	Source   string   `json:"source"`
	Targets  int      `json:"targets"`
	Refused  int      `json:"refused"`
	Reasons  []string `json:"reasons"` // the first ones
	Fault    string   `json:"fault,omitempty"`
	HeldBack string   `json:"held_back,omitempty"`
	Good     string   `json:"good,omitempty"` // RFC 3339
	Age      *int64   `json:"age_seconds,omitempty"`
}

// listStates is for the API.
func (o *own) listStates() any {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := []listState{}
	for _, l := range o.lists {
		s := listState{Source: l.Source, Targets: l.Targets, Refused: l.Refused, Reasons: []string{}, Fault: l.Fault, HeldBack: l.HeldBack}
		for _, p := range l.Problems {
			s.Reasons = append(s.Reasons, p.String())
		}
		if !l.Good.IsZero() {
			age := int64(time.Since(l.Good).Seconds())
			s.Good, s.Age = l.Good.UTC().Format(time.RFC3339), &age
		}
		out = append(out, s)
	}
	return out
}

// listFields is what llama_agent says of the lists.
func listFields(lists []config.List) []sink.AgentField {
	var refused, faulty, held int64
	for _, l := range lists {
		refused += int64(l.Refused)
		faulty += oneIf(l.Fault != "")
		held += oneIf(l.HeldBack != "")
	}
	return []sink.AgentField{
		sink.AgentInt("config_lists", int64(len(lists))),
		sink.AgentInt("config_lists_faulty", faulty),
		sink.AgentInt("config_lists_held_back", held),
		sink.AgentInt("config_lists_refused", refused),
	}
}

// checkLists is what check says of the lists; good: nothing of them is left out.
func checkLists(lists []config.List) (out []finding, good bool) {
	good = true
	for _, l := range lists {
		f := finding{Name: "list", OK: l.Fault == "" && l.Refused == 0, Detail: fmt.Sprintf("%s: %d targets, %d entries left out", l.Source, l.Targets, l.Refused)}
		if l.Fault != "" {
			f.Detail += ": " + l.Fault
		}
		out = append(out, f)
		for _, p := range l.Problems {
			out = append(out, finding{Name: "list", Detail: p.String()})
		}
		good = good && f.OK
	}
	return out, good
}
