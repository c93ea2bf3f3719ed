package sink

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

// askProbe gets /probe, and what the handler asked to be measured.
func askProbe(t *testing.T, query string, head map[string]string, paths []probe.Path, err error) (*httptest.ResponseRecorder, string) {
	t.Helper()
	asked := ""
	api := API(Handlers{Probe: func(_ context.Context, r ProbeRequest) ([]probe.Path, error) {
		asked = r.Target + " " + r.Class
		require.False(t, r.Trusted, "there is no token")
		return paths, err
	}})
	r := httptest.NewRequest("GET", "http://127.0.0.1/probe"+query, nil)
	for k, v := range head {
		r.Header.Set(k, v)
	}
	rw := httptest.NewRecorder()
	api.ServeHTTP(rw, r)
	return rw, asked
}

func TestProbeAnswers(t *testing.T) {
	rw, asked := askProbe(t, "?target=reflector02&class=be", nil, []probe.Path{plainPath(), lostPath()}, nil)
	require.Equal(t, 200, rw.Code)
	require.Equal(t, "reflector02 be", asked)
	p, text := plainPath(), rw.Body.String()
	require.Contains(t, text, "\nprobe_success 1\n")
	require.Contains(t, text, "\nprobe_duration_seconds ")
	require.Contains(t, text, fmt.Sprintf("\nllama_probe_probes{class=%q,clock=%q,end=\"received\",family=\"%d\"} %d\n", p.Class.Name, p.Clock, p.Family, p.Received))
	require.Contains(t, text, "\nllama_probe_rtt_seconds{")

	for _, paths := range [][]probe.Path{nil, {lostPath()}} {
		rw, _ = askProbe(t, "?target=reflector02", nil, paths, nil)
		require.Equal(t, 200, rw.Code)
		require.Contains(t, rw.Body.String(), "\nprobe_success 0\n")
		require.NotContains(t, rw.Body.String(), "rtt")
	}
}

func TestProbeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		head  map[string]string
		err   error
		code  int
	}{
		"no target":      {query: "", code: 400},
		"two targets":    {query: "?target=a&target=b", code: 400},
		"two classes":    {query: "?target=a&class=b&class=c", code: 400},
		"unknown":        {query: "?target=a", err: fmt.Errorf("target a: %w", ErrNotConfigured), code: 400},
		"not allowed":    {query: "?target=a", err: fmt.Errorf("10.0.0.1: %w", ErrNotAllowed), code: 403},
		"busy":           {query: "?target=a", err: fmt.Errorf("a: %w", ErrBusy), code: 503},
		"defect":         {query: "?target=a", err: errors.New("socket"), code: 500},
		"another's page": {query: "?target=a", head: map[string]string{"Sec-Fetch-Site": "cross-site"}, code: 403},
		"its own page":   {query: "?target=a", head: map[string]string{"Sec-Fetch-Site": "none"}, code: 200},
	} {
		t.Run(name, func(t *testing.T) {
			rw, asked := askProbe(t, c.query, c.head, nil, c.err)
			require.Equal(t, c.code, rw.Code, rw.Body)
			if c.err == nil && c.code != 200 {
				require.Empty(t, asked, "nothing was probed")
			}
		})
	}
}

func TestProbeTime(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 9500 * time.Millisecond, "x": 9500 * time.Millisecond, "-1": 9500 * time.Millisecond, "NaN": 9500 * time.Millisecond,
		"1e9": 9500 * time.Millisecond, "+Inf": 9500 * time.Millisecond, "10": 9500 * time.Millisecond,
		"3": 2500 * time.Millisecond, "0.6": 300 * time.Millisecond,
	} {
		require.Equal(t, want, probeTime(header), header)
	}
}

// With a token /probe asks for it, whatever the target, and what only tells does not.
func TestProbeAsksForTheToken(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	trusted := 0
	api := API(Handlers{Token: token, Probe: func(_ context.Context, r ProbeRequest) ([]probe.Path, error) {
		if r.Trusted {
			trusted++
		}
		return nil, nil
	}})
	get := func(path string, credentials ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "http://127.0.0.1"+path, nil)
		r.Header["Authorization"] = credentials
		rw := httptest.NewRecorder()
		api.ServeHTTP(rw, r)
		return rw
	}
	for _, wrong := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {token}, {"Basic " + token}, {"Bearer " + token[:31]}, {"Bearer " + token + "0"}, {"Bearer " + token + " "},
		{"Bearer " + strings.ToUpper(token)}, {"Bearer " + token + "," + token}, {"Bearer " + token, "Bearer " + token}, {"Bearer " + strings.Repeat("0", 10_000)},
	} {
		rw := get("/probe?target=a", wrong...)
		require.Equal(t, 401, rw.Code, wrong)
		require.Equal(t, `Bearer realm="llama-agent"`, rw.Header().Get("WWW-Authenticate"))
		require.NotContains(t, rw.Body.String(), token)
	}
	require.Zero(t, trusted)
	for i, right := range []string{"Bearer " + token, "bearer  " + token} {
		require.Equal(t, 200, get("/probe?target=a", right).Code)
		require.Equal(t, i+1, trusted)
	}
	for _, path := range []string{"/status", "/healthz", "/influxdata", "/latency"} {
		require.Equal(t, 200, get(path).Code, path)
	}
}
