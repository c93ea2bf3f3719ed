package scraper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

func newClient(timeout time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = timeout
	t.MaxResponseHeaderBytes = 64 << 10
	t.MaxIdleConnsPerHost = 1
	return &http.Client{
		Transport: t, Timeout: timeout,
		// What a collector answers must not say whom else we ask.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// errTooLarge says that an answer is longer than Options.MaxBytes.
var errTooLarge = errors.New("answer is too large")

// fetch asks the collector of r, and hands its points on. The time of those that have
// none is that of the scrape.
func (s *Scraper) fetch(ctx context.Context, r *Result) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Collector.URL, nil)
	if err != nil {
		return 0, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("User-Agent", "llama-agent")
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, fmt.Errorf("get: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("get: status %s", resp.Status)
	}
	body := &io.LimitedReader{R: resp.Body, N: s.options.MaxBytes + 1}
	d := decoder{now: r.Start, emit: func(p []Point) { s.options.Points(r.Collector.Name, p) }}
	err = d.decode(body)
	r.Points, r.Refused = d.points, d.refused
	switch {
	case body.N <= 0:
		err = fmt.Errorf("%w: more than %d octets", errTooLarge, s.options.MaxBytes)
	case err != nil:
		err = fmt.Errorf("answer (Content-Type %.64q): %w", resp.Header.Get("Content-Type"), err)
	}
	return resp.StatusCode, err
}
