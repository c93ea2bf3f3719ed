package scraper

import (
	"context"
	"hash/fnv"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Collector is one to ask.
type Collector struct {
	Name string // in logs, and in what is said of it
	URL  string // of its /influxdata
}

// Point is one that a collector has measured. Fields are in no order.
type Point struct {
	Measurement string
	Tags        map[string]string
	Fields      map[string]float64
	Time        time.Time
}

// Result is how one scrape ended.
type Result struct {
	Collector Collector
	Start     time.Time
	Duration  time.Duration
	Status    int   // of HTTP; 0: there was no answer
	Points    int   // handed on
	Refused   int   // of the answer's points, those that are none, or beyond the bounds
	Err       error // nil: it is up, and its answer was whole
}

// Options are for a [Scraper].
type Options struct {
	Collectors []Collector
	Interval   time.Duration
	Timeout    time.Duration // of one scrape
	Parallel   int           // scrapes at once
	MaxBytes   int64         // of an answer, unpacked
	// Points takes points of a collector, by its name, some at a time; they are the receiver's
	// then. Done takes the end of its scrape.
	// Both are called by many goroutines.
	Points func(from string, points []Point)
	Done   func(Result)
	Log    *slog.Logger
}

// Scraper asks collectors again and again.
type Scraper struct {
	options Options
	client  *http.Client
	slots   chan struct{}
	now     func() time.Time
}

// New returns a scraper that has asked nobody yet.
func New(o Options) *Scraper {
	return &Scraper{options: o, client: newClient(o.Timeout), slots: make(chan struct{}, max(1, o.Parallel)), now: time.Now}
}

// Run asks every collector once an interval until ctx ends.
func (s *Scraper) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	var wg sync.WaitGroup
	for _, c := range s.options.Collectors {
		wg.Go(func() { s.follow(ctx, c) })
	}
	wg.Wait()
	return nil
}

// Once asks every collector once, now.
func (s *Scraper) Once(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	var wg sync.WaitGroup
	for _, c := range s.options.Collectors {
		wg.Go(func() { _ = s.scrape(ctx, c) }) // Done is told
	}
	wg.Wait()
}

// follow asks one collector at the same time of each interval. What a scrape has missed,
// because it took longer, is not made up for.
func (s *Scraper) follow(ctx context.Context, c Collector) {
	up := true // so that the first failure is told, and not the first success
	for {
		wait := time.NewTimer(next(s.now(), s.options.Interval, c.Name))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		err := s.scrape(ctx, c)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && up:
			s.options.Log.Warn("collector is down", "collector", c.Name, "error", err)
		case err == nil && !up:
			s.options.Log.Info("collector is up again", "collector", c.Name)
		}
		up = err == nil
	}
}

// next is how long it is to a collector's turn. Dropbox's collectors sum up at the whole
// interval, and those of this agent write soon after: a turn is in the middle of it, at a
// moment that depends on the name, so that not all are asked at once.
func next(now time.Time, interval time.Duration, name string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	phase := interval/4 + time.Duration(float64(h.Sum32())/(1<<32)*float64(interval/2))
	at := now.Truncate(interval).Add(phase)
	if !at.After(now) {
		at = at.Add(interval)
	}
	return at.Sub(now)
}

func (s *Scraper) scrape(ctx context.Context, c Collector) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.slots }()
	r := Result{Collector: c, Start: s.now()}
	r.Status, r.Err = s.fetch(ctx, &r)
	r.Duration = time.Since(r.Start)
	if ctx.Err() == nil { // a scrape that we ended says nothing of the collector
		s.options.Done(r)
	}
	return r.Err
}
