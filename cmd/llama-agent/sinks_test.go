package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/config"
	"github.com/llama-agent/llama-agent/pkg/sink"
)

// store is a database that asks for a token.
type store struct {
	url string

	mu  sync.Mutex // protects the fields below
	got []string   // values of the field n
}

func newStore(t *testing.T, token string) *store {
	s := &store{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Token "+token {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		text, _ := io.ReadAll(z)
		s.mu.Lock()
		defer s.mu.Unlock()
		for line := range strings.Lines(string(text)) {
			_, n, _ := strings.Cut(line, " n=")
			n, _, _ = strings.Cut(n, "i ")
			s.got = append(s.got, n)
		}
		rw.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// has waits until the store has these values, in any order, and no others.
func (s *store) has(t *testing.T, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.got) >= len(want)
	}, 30*time.Second, 5*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.ElementsMatch(t, want, s.got)
}

// A reload that changes a token keeps what waits, and tries the new one at once; a sink
// that is taken out leaves its batches in the spool, and finds them when it comes back.
func TestSinksKeepWhatWaits(t *testing.T) {
	s := newStore(t, "right")
	spool := t.TempDir()
	parse := func(sinks string) *config.Config {
		cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, "host: {name: a1-h1}\nspool: {path: %s}\nsinks: [%s]\n", spool, sinks))
		require.NoError(t, err)
		return cfg
	}
	influx := func(token string) string {
		return fmt.Sprintf("{influx: {url: %q, bucket: b, token: %s, batch_age: 1ms, spread: false}}", s.url, token)
	}
	a := &agent{log: slog.New(slog.DiscardHandler)}
	send := func(n int64) {
		require.NoError(t, a.fanout.Agent(&sink.AgentStats{Time: time.Unix(0, n), Fields: []sink.AgentField{sink.AgentInt("n", n)}}))
	}
	first := parse(influx("wrong"))
	require.NoError(t, a.beginSinks(first))
	send(1)
	q := a.outputs[placeIn(first, &first.Sinks[0])].output
	require.Eventually(t, func() bool { return q.Stats().Errors[sink.ErrorAuth] > 0 }, 30*time.Second, 5*time.Millisecond)
	send(2)
	require.NoError(t, a.beginSinks(parse(influx("right"))))
	s.has(t, "1", "2")

	require.NoError(t, a.beginSinks(parse(influx("wrong"))))
	send(3)
	require.Eventually(t, func() bool { return q.Stats().Accepted.Batches == 3 }, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, a.beginSinks(parse("")))
	files, err := filepath.Glob(spool + "/*/*.lp.gz")
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, a.beginSinks(parse(influx("right"))))
	s.has(t, "1", "2", "3")
	require.NoError(t, a.endSinks())
	dirs, err := os.ReadDir(spool)
	require.NoError(t, err)
	require.Len(t, dirs, 1)
}

// Hosts push at times of their own, evenly spread, and always the same.
func TestSpread(t *testing.T) {
	const hosts, most = 10_000, 5 * time.Second
	var tenths [10]int
	for i := range hosts {
		name := fmt.Sprintf("rack%d-h%d", i/20, i%20)
		d := spread(name, most)
		require.Equal(t, d, spread(name, most))
		tenths[int(d*10/most)]++
	}
	for _, n := range tenths {
		require.InDelta(t, hosts/10, n, 5*math.Sqrt(hosts/10))
	}
}
