package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/scraper"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// measurementScrape is what scrape says of the collectors that it asks.
const measurementScrape = "llama_scrape"

func newScrape() *cobra.Command {
	var file string
	var once bool
	cmd := &cobra.Command{
		Use:   "scrape --config FILE",
		Short: "Read what collectors serve at /influxdata, and write it to the sinks",
		Long: `scrape asks every collector of scrape.targets once an interval for its /influxdata, as
LLAMA's scraper does: Dropbox's Go and Python collectors, and this agent. What they
answer goes to the sinks of the same file, by way of the spool if there is one, so
that no batch is lost while a database is down.

Each collector gets a line llama_scrape with every scrape: whether it is up, how long
it took, and how many points it had.

SIGHUP loads the configuration again. With --once every collector is asked once; exit
status 1 says that one of them was not up.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return scrape(cmd.Context(), file, once, cmd.OutOrStdout(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&once, "once", false, "ask once, write, and end")
	_ = cmd.MarkFlagRequired("config") // it exists
	return cmd
}

// A scraping is the parts of `scrape`, joined: points go from the scraper to the sinks.
type scraping struct {
	agent *agent // whose sinks are used, and nothing else
	part  *part
	down  atomic.Bool // a collector was not up
}

func scrape(ctx context.Context, file string, once bool, stdout io.Writer, log *slog.Logger) error {
	cfg, err := loadScrape(file, log)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	s := &scraping{agent: &agent{log: log, stdout: stdout, outputs: map[string]opened{}}}
	if err := s.agent.beginSinks(cfg); err != nil {
		return errors.Join(err, s.agent.endSinks())
	}
	if once {
		s.scraper(cfg).Once(ctx)
		err := s.agent.endSinks()
		if err == nil && s.down.Load() {
			return errBeyond
		}
		return err
	}
	s.begin(cfg)
	for {
		select {
		case <-ctx.Done():
			if err := errors.Join(s.part.stop(), s.agent.endSinks()); err != nil {
				log.Error("stopped", "error", err) // such as lines that a sink did not take in time
			}
			return nil
		case <-hup:
			s.reload(file)
		}
	}
}

// loadScrape loads a configuration that has something to ask. The agent of the same file
// has the spool itself.
func loadScrape(file string, log *slog.Logger) (*config.Config, error) {
	cfg, err := loadConfig(file, nil, nil, log)
	if err != nil {
		return nil, err
	}
	if len(cfg.Scrape.Targets) == 0 {
		return nil, fmt.Errorf("%s: scrape.targets names no collector", file)
	}
	if len(cfg.Sinks) == 0 {
		return nil, fmt.Errorf("%s: sinks is empty: what is scraped would go nowhere", file)
	}
	if cfg.Spool.Path != "" {
		cfg.Spool.Path += "-scrape"
	}
	return cfg, nil
}

func (s *scraping) begin(cfg *config.Config) {
	s.part = start(s.scraper(cfg).Run)
	s.agent.log.Info("scraping", "collectors", len(cfg.Scrape.Targets), "interval", cfg.Scrape.Interval)
}

// reload asks by the new configuration from now on; a wrong one changes nothing.
func (s *scraping) reload(file string) {
	cfg, err := loadScrape(file, s.agent.log)
	if err == nil {
		err = s.agent.beginSinks(cfg)
	}
	if err != nil {
		s.agent.log.Error("configuration kept as it was", "error", err)
		return
	}
	_ = s.part.stop() // it has no error to tell
	s.begin(cfg)
}

func (s *scraping) scraper(cfg *config.Config) *scraper.Scraper {
	c, host := &cfg.Scrape, hostOf(cfg)
	collectors := make([]scraper.Collector, len(c.Targets))
	for i, t := range c.Targets {
		collectors[i] = scraper.Collector{Name: t.Name, URL: t.URL}
	}
	hostTags := map[string]string{"src": host.Name}
	for k, v := range host.Tags {
		hostTags["src_"+k] = v
	}
	return scraper.New(scraper.Options{
		Collectors: collectors, Interval: c.Interval, Timeout: c.Timeout, Parallel: c.Parallel, MaxBytes: c.MaxBytes,
		Points: func(from string, points []scraper.Point) { s.points(c.Tag, from, points) },
		Done: func(r scraper.Result) {
			if r.Err != nil {
				s.down.Store(true)
			}
			s.write([]sink.Point{scrapePoint(&r, hostTags)})
		},
		Log: s.agent.log,
	})
}

func (s *scraping) points(tag, from string, points []scraper.Point) {
	out := make([]sink.Point, len(points))
	for i, p := range points {
		if tag != "" {
			p.Tags[tag] = from
		}
		fields := make([]sink.AgentField, 0, len(p.Fields))
		for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
			fields = append(fields, sink.AgentFloat(name, p.Fields[name]))
		}
		out[i] = sink.Point{Measurement: p.Measurement, Tags: p.Tags, Fields: fields, Time: p.Time}
	}
	s.write(out)
}

// write hands points on; the error is about lines that were withheld.
func (s *scraping) write(points []sink.Point) {
	s.agent.handover.Lock() // a reload changes the outputs between two writes
	defer s.agent.handover.Unlock()
	if err := s.agent.fanout.Points(points); err != nil {
		s.agent.log.Debug("lines withheld", "error", err) // the encoder has said so
	}
}

// scrapePoint is what one scrape says of its collector.
func scrapePoint(r *scraper.Result, hostTags map[string]string) sink.Point {
	tags := maps.Clone(hostTags)
	tags["collector"] = r.Collector.Name
	up := int64(0)
	if r.Err == nil {
		up = 1
	}
	fields := []sink.AgentField{
		sink.AgentInt("up", up),
		sink.AgentFloat("duration_ms", float64(r.Duration.Round(time.Microsecond))/1e6),
		sink.AgentInt("points", int64(r.Points)),
		sink.AgentInt("refused", int64(r.Refused)),
	}
	if r.Status != 0 {
		fields = append(fields, sink.AgentInt("status", int64(r.Status)))
	}
	return sink.Point{Measurement: measurementScrape, Tags: tags, Fields: fields, Time: r.Start}
}
