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

// beginAPI serves what the agent measured last. Where it cannot, all is as it was: who
// serves goes on to have the windows.
func (a *agent) beginAPI(cfg *config.Config) error {
	l, err := listenAPI(cfg.API.Listen)
	if err != nil {
		return err
	}
	a.servesFor = hostOf(cfg)
	latest := sink.NewLatest(a.servesFor)
	metrics := sink.NewMetrics(a.servesFor, sink.Build{Version: versionName(), Go: runtime.Version()}, a.ownFields)
	a.handover.Lock()
	a.latest, a.metrics = latest, metrics
	a.handover.Unlock()
	a.serving = nil
	if l == nil {
		return nil
	}
	host, _, _ := net.SplitHostPort(cfg.API.Listen) // Listen took it
	a.serving = serve(l, sink.API(sink.Handlers{Latest: latest, Metrics: metrics, Health: a.health, Lists: a.listStates, Probe: a.prober.probe,
		Token: string(cfg.API.Token), Hosts: append([]string{host, cfg.Host.Name}, cfg.API.Hosts...)}))
	a.log.Info("serving api", "listen", l.Addr().String())
	return nil
}

// listenAPI returns nil for "", which is no API.
func listenAPI(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve api: %w (choose another api.listen, or \"\" for none)", err)
	}
	return l, nil
}

func serve(l net.Listener, h http.Handler) *part {
	server := sink.NewServer(h)
	return start(func(ctx context.Context) error {
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
}

// reloadAPI serves the new address before it leaves the old one. On the same port it
// cannot: one may be of the addresses of the other. There it comes back to the old one
// if the new one is not to be had.
func (a *agent) reloadAPI(old, cfg *config.Config) error {
	before, atOnce := a.serving, !samePort(old.API.Listen, cfg.API.Listen)
	var ended error
	if !atOnce {
		ended, a.serving = before.stop(), nil
	}
	err := a.beginAPI(cfg)
	if err != nil {
		cfg.API = old.API
	}
	switch {
	case atOnce && err == nil:
		ended = before.stop()
	case !atOnce && err != nil:
		err = errors.Join(err, a.beginAPI(cfg))
	}
	return errors.Join(ended, err)
}

// samePort says whether two addresses may stand in each other's way.
func samePort(a, b string) bool {
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB
}

// ownFields is what the agent says of itself between two windows.
func (a *agent) ownFields() []sink.AgentField {
	a.handover.Lock()
	f := a.fanout
	a.handover.Unlock()
	return a.fields(f)
}
