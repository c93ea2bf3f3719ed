package scraper

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome is what a scraper was told of its collectors.
type outcome struct {
	mu      sync.Mutex // protects the fields below
	points  map[string]int
	results map[string][]Result
}

func newOutcome() *outcome {
	return &outcome{points: map[string]int{}, results: map[string][]Result{}}
}

func (o *outcome) options(collectors ...Collector) Options {
	return Options{
		Collectors: collectors, Interval: time.Second, Timeout: time.Minute, Parallel: 4, MaxBytes: 1 << 20,
		Log: slog.New(slog.DiscardHandler),
		Points: func(from string, p []Point) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.points[from] += len(p)
		},
		Done: func(r Result) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.results[r.Collector.Name] = append(o.results[r.Collector.Name], r)
		},
	}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/influxdata"
}

func say(text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, text) }
}

// Of many collectors, each hostile one is down for its own reason, and takes nothing from the others.
func TestOnce(t *testing.T) {
	elsewhere := 0
	target := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere++ })
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(append([]byte("["), bytes.Repeat([]byte(" "), 8<<20)...))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()

	o := newOutcome()
	options := o.options(
		Collector{"good", serve(t, say("["+goodPoint+","+goodPoint+"]"))},
		Collector{"none yet", serve(t, say("[]"))},
		Collector{"html", serve(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(rw, "<html>Please log in</html>")
		})},
		Collector{"not found", serve(t, http.NotFound)},
		Collector{"elsewhere", serve(t, func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, target, http.StatusFound) })},
		Collector{"bomb", serve(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			_, _ = rw.Write(bomb.Bytes())
		})},
		Collector{"large", serve(t, say("["+strings.Repeat(goodPoint+",", 20_000)+goodPoint+"]"))},
		Collector{"gone", closed.URL},
	)
	New(options).Once(t.Context())

	why := map[string]string{
		"good": "", "none yet": "",
		"html":      `answer (Content-Type "text/html"): is not JSON: invalid character '<'`,
		"not found": "get: status 404 Not Found", "elsewhere": "get: status 302 Found",
		"bomb":  "answer is too large: more than 1048576 octets",
		"large": "answer is too large", "gone": "connection refused",
	}
	require.Len(t, o.results, len(why))
	for name, want := range why {
		require.Len(t, o.results[name], 1, name)
		r := o.results[name][0]
		if want == "" {
			require.NoError(t, r.Err, name)
			require.Equal(t, http.StatusOK, r.Status)
		} else {
			require.ErrorContains(t, r.Err, want, name)
		}
		require.Equal(t, o.points[name], r.Points, name)
	}
	require.Equal(t, 2, o.points["good"])
	require.Zero(t, elsewhere, "a redirect is not followed")
	require.Zero(t, o.results["gone"][0].Status)
}

// fakeTransport answers without a network, after a time.
type fakeTransport struct{ takes map[string]time.Duration }

func (f fakeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(f.takes[r.URL.Host]):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(strings.NewReader("[" + goodPoint + "]"))}, nil
}

// hanging gives one point, and then nothing until the request ends.
type hanging struct {
	io.Reader
	ctx context.Context
}

func (h hanging) Read(b []byte) (int, error) {
	if n, err := h.Reader.Read(b); err == nil {
		return n, nil
	}
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{},
		Body: io.NopCloser(hanging{strings.NewReader("[" + goodPoint + ","), r.Context()})}, nil
}

// An answer that never ends takes no longer than the timeout, and what came before it hung is not lost.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutcome()
		s := New(o.options(Collector{"hangs", "http://hangs/influxdata"}))
		s.client = &http.Client{Transport: hanging{}, Timeout: 7 * time.Second}
		s.Once(t.Context())
		require.Equal(t, 1, o.points["hangs"])
		r := o.results["hangs"][0]
		require.ErrorContains(t, r.Err, "deadline exceeded")
		require.Equal(t, 7*time.Second, r.Duration)
	})
}

// Each collector is asked once an interval, in its middle; one that is slower than the interval misses
// turns of its own, and no other's.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutcome()
		options := o.options(Collector{"quick", "http://quick/influxdata"}, Collector{"slow", "http://slow/influxdata"}, Collector{"stuck", "http://stuck/influxdata"})
		options.Interval, options.Timeout = 10*time.Second, 25*time.Second
		s := New(options)
		s.client = &http.Client{Transport: fakeTransport{map[string]time.Duration{"slow": 12 * time.Second, "stuck": time.Hour}}, Timeout: options.Timeout}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		require.NoError(t, s.Run(ctx))
		require.Len(t, o.results["quick"], 10)
		for i, r := range o.results["quick"] {
			require.NoError(t, r.Err)
			if i > 0 {
				require.Equal(t, 10*time.Second, r.Start.Sub(o.results["quick"][i-1].Start))
			}
			phase := r.Start.Sub(r.Start.Truncate(10 * time.Second))
			require.GreaterOrEqual(t, phase, 2500*time.Millisecond)
			require.LessOrEqual(t, phase, 7500*time.Millisecond)
		}
		require.Len(t, o.results["slow"], 5, "every second turn")
		for _, r := range o.results["stuck"] {
			require.ErrorContains(t, r.Err, "deadline exceeded")
			require.Equal(t, 25*time.Second, r.Duration)
		}
	})
}
