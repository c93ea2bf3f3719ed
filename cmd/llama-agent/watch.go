package main

import (
	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/watch"
)

// useWatch watches the files of a configuration, if it says so. Without, SIGHUP is left.
func (a *agent) useWatch(cfg *config.Config) {
	if !cfg.Watch {
		_ = a.watching.stop() // it has no errors
		a.watching, a.watched = nil, nil
		return
	}
	if a.watched == nil {
		w, err := watch.New(a.news, a.log)
		if err != nil {
			a.log.Error("files are not watched: changes are loaded by SIGHUP only", "error", err)
			return
		}
		a.watched, a.watching = w, start(w.Run)
	}
	a.watched.Use(cfg.Files)
}
