package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/discover"
)

// followLists begins to follow lists that are elsewhere, none yet. What is returned speaks when one
// says something new, or a file has changed.
func (a *agent) followLists() <-chan struct{} {
	news := make(chan struct{}, 1)
	a.news = func() {
		select {
		case news <- struct{}{}:
		default: // it is known already
		}
	}
	a.discovered = discover.New(discover.Options{Check: config.CheckList, Log: a.log, Changed: a.news})
	a.given = map[string][]byte{}
	return news
}

// fetched is a [config.Fetched].
func (a *agent) fetched(state, source string) []byte {
	a.given[source] = a.discovered.Contents(state, source)
	return a.given[source]
}

// useLists follows the lists of the configuration in force. What is in force of them has its copy.
func (a *agent) useLists(from *config.TargetsFrom) {
	a.discovered.Use(from.State, sourcesOf(from))
	for _, l := range from.Lists {
		if data := a.given[l.Source]; data != nil && l.Fault == "" && l.HeldBack == "" {
			a.discovered.Taken(l.Source, data)
		}
	}
	clear(a.given)
}

func sourcesOf(from *config.TargetsFrom) (out []discover.Source) {
	for _, u := range from.URLs {
		out = append(out, discover.Source{Name: u.URL, URL: u.URL, CA: u.CA, Token: string(u.Token), Interval: u.Interval})
	}
	for _, s := range from.SRV {
		out = append(out, discover.Source{Name: s.Name, Interval: s.Interval})
	}
	return out
}

// askedLists is what lists elsewhere say to check, which asks each once.
type askedLists map[string]struct {
	data []byte
	err  error
}

func (a askedLists) known(_, source string) []byte { return a[source].data }

// ask tells whether there are any.
func (a askedLists) ask(ctx context.Context, from *config.TargetsFrom) bool {
	sources := sourcesOf(from)
	o := discover.Options{Check: config.CheckList, Log: slog.New(slog.DiscardHandler)}
	for _, s := range sources {
		is := a[s.Name]
		if is.data, is.err = discover.Once(ctx, s, o); is.err != nil {
			is.data = nil
		}
		a[s.Name] = is
	}
	return len(sources) > 0
}

// checkLists is what check says of the lists; good: nothing of them is left out.
func checkLists(lists []config.List, asked askedLists) (out []finding, good bool) {
	good = true
	for _, l := range lists {
		fault := l.Fault
		if err := asked[l.Source].err; err != nil {
			fault = err.Error()
		}
		f := finding{Name: "list", OK: fault == "" && l.Refused == 0, Detail: fmt.Sprintf("%s: %d targets, %d entries left out", l.Source, l.Targets, l.Refused)}
		if fault != "" {
			f.Detail += ": " + fault
		}
		out = append(out, f)
		for _, p := range l.Problems {
			out = append(out, finding{Name: "list", Detail: p.String()})
		}
		good = good && f.OK
	}
	return out, good
}
