package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// beginAPI serves what the agent measured last.
func (a *agent) beginAPI(cfg *config.Config) error {
	a.serving = nil
	latest := sink.NewLatest(hostOf(cfg))
	metrics := sink.NewMetrics(hostOf(cfg), sink.Build{Version: versionName(), Go: runtime.Version()}, a.ownFields)
	a.handover.Lock()
	a.latest, a.metrics = latest, metrics
	a.handover.Unlock()
	if cfg.API.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", cfg.API.Listen)
	if err != nil {
		return fmt.Errorf("serve api: %w (choose another api.listen, or \"\" for none)", err)
	}
	host, _, _ := net.SplitHostPort(cfg.API.Listen) // Listen took it
	server := sink.NewServer(sink.API(sink.Handlers{Latest: latest, Metrics: metrics, Health: a.health, Lists: a.listStates, Probe: a.prober.probe,
		Token: string(cfg.API.Token), Hosts: append([]string{host, cfg.Host.Name}, cfg.API.Hosts...)}))
	a.serving = start(func(ctx context.Context) error {
		context.AfterFunc(ctx, func() {
			soon, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if server.Shutdown(soon) != nil {
				_ = server.Close()
			}
		})
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve api: %w", err)
		}
		return nil
	})
	a.log.Info("serving api", "listen", l.Addr().String())
	return nil
}

// ownFields is what the agent says of itself between two windows.
func (a *agent) ownFields() []sink.AgentField {
	a.handover.Lock()
	f := a.fanout
	a.handover.Unlock()
	return a.fields(f)
}
