package main

import (
	"cmp"
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
	Stale    bool     `json:"stale"`
}

// listsNow is what became of the lists, and what is known of those elsewhere since.
func (a *agent) listsNow() []listState {
	a.own.mu.Lock()
	lists := a.own.lists
	a.own.mu.Unlock()
	out := make([]listState, len(lists))
	for i, l := range lists {
		s := listState{Source: l.Source, Targets: l.Targets, Refused: l.Refused, Reasons: []string{}, Fault: l.Fault, HeldBack: l.HeldBack}
		for _, p := range l.Problems {
			s.Reasons = append(s.Reasons, p.String())
		}
		good := l.Good
		if d, ok := a.discovered.State(l.Source); ok {
			s.Fault, good, s.Stale = cmp.Or(s.Fault, d.Fault), d.Good, d.Stale
		}
		if !good.IsZero() {
			age := max(0, int64(time.Since(good).Seconds()))
			s.Good, s.Age = good.UTC().Format(time.RFC3339), &age
		}
		out[i] = s
	}
	return out
}

func (a *agent) listStates() any { return a.listsNow() }

// listFields is what llama_agent says of the lists.
func listFields(lists []listState) []sink.AgentField {
	var refused, faulty, held, stale int64
	for _, l := range lists {
		refused += int64(l.Refused)
		faulty += oneIf(l.Fault != "")
		held += oneIf(l.HeldBack != "")
		stale += oneIf(l.Stale)
	}
	return []sink.AgentField{
		sink.AgentInt("config_lists", int64(len(lists))),
		sink.AgentInt("config_lists_faulty", faulty),
		sink.AgentInt("config_lists_held_back", held),
		sink.AgentInt("config_lists_refused", refused),
		sink.AgentInt("config_lists_stale", stale),
	}
}
