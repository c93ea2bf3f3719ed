package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/reflector"
)

func newRun() *cobra.Command {
	var file string
	var telegraf bool
	cmd := &cobra.Command{
		Use:   "run [--config FILE] [--telegraf]",
		Short: "Probe the configured targets and reflect the probes of others",
		Long: `run probes every target from many source ports in every class, and reflects the
probes of other hosts.

Without --config it reflects and probes on 127.0.0.1 and ::1 only, prints a table of
each window, and serves its API on 127.0.0.1:5000; without the right to UDP port 862
it uses 8620.

SIGHUP loads the configuration and its lists of targets again (a wrong one is reported
and changes nothing) and opens files anew; with watch: true a change of these files loads
them too. SIGTERM and SIGINT wait for the replies under way, write the
last window, and end.

With --telegraf it is a program for Telegraf's inputs.execd: line protocol on
standard output beside the configured sinks, logs with Telegraf's levels on standard
error, and it ends as by SIGTERM when standard input does.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, log := cmd.Context(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if telegraf {
				var cancel context.CancelFunc
				ctx, cancel = underTelegraf(ctx, cmd.InOrStdin())
				defer cancel()
				log = slog.New(newTelegrafLog(cmd.ErrOrStderr()))
			}
			return runAgent(ctx, file, telegraf, cmd.OutOrStdout(), log)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&telegraf, "telegraf", false, "run under Telegraf's inputs.execd")
	return cmd
}

func runAgent(ctx context.Context, file string, telegraf bool, stdout io.Writer, log *slog.Logger) error {
	limitHeap()
	a := &agent{log: log, stdout: stdout, tables: file == "" && !telegraf}
	news := a.followLists()
	defer a.discovered.Close()
	cfg, err := loadConfig(file, nil, a.fetched, log)
	if err != nil {
		return err
	}
	a.useWatch(cfg) // what changes during the start is loaded after it
	defer func() { _ = a.watching.stop() }()
	if telegraf {
		toTelegraf(cfg)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anything runs: it ends a program that does not ask for it
	defer signal.Stop(hup)
	if err := beginOrFallBack(ctx, a, cfg, file == ""); err != nil {
		if ctx.Err() != nil {
			log.Info("stopped before the start had ended", "why", err)
			return nil
		}
		return err
	}
	a.loaded()
	log.Info("llama-agent runs", "version", versionName(), "host", cfg.Host.Name)
	notifyReady()
	var alive <-chan time.Time
	if dog := watchdog(); dog != nil {
		defer dog.Stop()
		alive = dog.C
	}
	for {
		select {
		case <-ctx.Done():
			log.Info("stopping")
			notifyStopping()
			if err := a.end(); err != nil {
				log.Error("stopped", "error", err) // such as lines that a sink did not take in time
			}
			return nil
		case <-a.failed():
			return errors.Join(errors.New("a part of the agent ended"), a.end())
		case <-alive:
			a.alive()
		case <-hup:
			notifyReloading()
			reloadFrom(ctx, a, file, telegraf)
			notifyReady()
		case <-news:
			reloadFrom(ctx, a, file, telegraf)
		}
	}
}

// failed is closed when the reflector ends by itself, which it never should.
func (a *agent) failed() <-chan struct{} {
	if a.reflecting == nil {
		return nil
	}
	return a.reflecting.done
}

// loadConfig reads the file, and lists of targets in the place of those of before, which may be nil.
func loadConfig(file string, before *config.Config, fetched config.Fetched, log *slog.Logger) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	cfg, err := config.LoadAfter(file, before, fetched)
	if err != nil {
		return nil, fmt.Errorf("configuration is wrong:\n%w", err)
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "doubt", w.String())
	}
	logLists(cfg.TargetsFrom.Lists, log)
	return cfg, nil
}

// beginOrFallBack uses port 8620 for itself and its targets where nothing was
// configured and port 862 is not allowed.
func beginOrFallBack(ctx context.Context, a *agent, cfg *config.Config, mayFallBack bool) error {
	err := a.begin(ctx, cfg)
	if err == nil || !mayFallBack || !errors.Is(err, reflector.ErrPermission) && !errors.Is(err, reflector.ErrInUse) {
		return err
	}
	const fallback = 8620
	a.log.Warn("port 862 is not to be had: reflecting and probing on 8620", "error", err)
	for i, l := range cfg.Reflector.Listen {
		cfg.Reflector.Listen[i] = netipPort(l, fallback)
	}
	for i := range cfg.Targets {
		cfg.Targets[i].Port = fallback
	}
	return a.begin(ctx, cfg)
}

// loaded tells those who answer for the configuration in force that there is a new one.
func (a *agent) loaded() {
	a.own.loaded(a.cfg)
	a.prober.use(a.cfg)
	a.useLists(&a.cfg.TargetsFrom)
	a.useWatch(a.cfg)
}

func reloadFrom(ctx context.Context, a *agent, file string, telegraf bool) {
	if file == "" {
		a.log.Info("nothing to load again: no configuration file")
		return
	}
	cfg, err := loadConfig(file, a.cfg, a.fetched, a.log)
	if err != nil {
		a.own.reloaded(reloadRefused)
		a.log.Error("configuration kept as it was", "error", err)
		return
	}
	if telegraf {
		toTelegraf(cfg)
	}
	err = a.reload(ctx, cfg)
	a.loaded()
	if err != nil {
		a.own.reloaded(reloadPartial)
		a.log.Error("configuration loaded in part", "error", err)
		return
	}
	a.own.reloaded(listsOutcome(cfg.TargetsFrom.Lists))
	a.log.Info("configuration loaded", "targets", len(cfg.Targets))
}
