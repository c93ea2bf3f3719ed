package main

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"slices"
	"syscall"

	"github.com/llama-agent/llama-agent/internal/config"
)

// underTelegraf ends the returned context when stdin does: that is how Telegraf's inputs.execd stops a program.
func underTelegraf(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE) // if Telegraf has died, the datapath is still to be taken off
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // with signal = "STDIN" a newline an interval
		cancel()
	}()
	return ctx, cancel
}

// toTelegraf adds standard output to the sinks.
func toTelegraf(cfg *config.Config) {
	if !slices.ContainsFunc(cfg.Sinks, func(s config.Sink) bool { return s.Kind == config.KindStdout }) {
		cfg.Sinks = append(cfg.Sinks, config.Sink{Kind: config.KindStdout, Schema: config.SchemaLlama})
	}
}

// telegrafLog logs as inputs.execd expects it, each line with its level in front: any other is an error there. The
// time is Telegraf's.
type telegrafLog struct{ debug, info, warn, err slog.Handler }

func newTelegrafLog(w io.Writer) slog.Handler {
	o := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}
	level := func(letter string) slog.Handler { return slog.NewTextHandler(prefixed{w, letter + "! "}, o) }
	return telegrafLog{level("D"), level("I"), level("W"), level("E")}
}

// prefixed writes each record, which is a line, in one piece.
type prefixed struct {
	w      io.Writer
	prefix string
}

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (h telegrafLog) of(level slog.Level) slog.Handler {
	switch {
	case level >= slog.LevelError:
		return h.err
	case level >= slog.LevelWarn:
		return h.warn
	case level >= slog.LevelInfo:
		return h.info
	}
	return h.debug
}

func (h telegrafLog) Enabled(ctx context.Context, level slog.Level) bool {
	return h.of(level).Enabled(ctx, level)
}

func (h telegrafLog) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

func (h telegrafLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (h telegrafLog) WithGroup(name string) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (h telegrafLog) each(f func(slog.Handler) slog.Handler) slog.Handler {
	return telegrafLog{f(h.debug), f(h.info), f(h.warn), f(h.err)}
}
