package sink

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
)

func get(h http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "127.0.0.1:5000"
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
func header(k, v string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(k, v) }
}
func method(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }

func TestInfluxdataHasLLAMAsForm(t *testing.T) {
	l := NewLatest(probe.Host{Name: "a1-h1", Tags: map[string]string{"rack": "a1"}})
	p := plainPath()
	p.RTT = hist(227_798)
	p.Counts = probe.Counts{Sent: 121, Received: 121}
	p.DstTags = map[string]string{"dst_cluster": "bb", "class": "an identity is not overridden", "rack": "01"}
	l.Set(window(p))
	rec := get(API(Handlers{Latest: l}), "/influxdata")
	require.Equal(t, http.StatusOK, rec.Code)
	require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
	require.Equal(t, `[{"fields":{"loss":0.000000,"lost":0.000000,"rtt":0.227798,"sent":121.000000},`+
		`"tags":{"class":"be","clock":"socket","dst":"reflector02","dst_class":"an identity is not overridden","dst_cluster":"bb","dst_ip":"10.0.2.7","dst_rack":"01","family":"4","rack":"01",`+
		`"src":"a1-h1","src_ip":"10.0.1.5","src_rack":"a1"},"time":"2026-03-01T12:00:10Z","measurement":"raw_stats"}]`+"\n", rec.Body.String())
}

func TestInfluxdataLeavesOutWhatIsUnknown(t *testing.T) {
	l := NewLatest(testHost)
	broken := plainPath()
	broken.Lost++
	l.Set(window(lostPath(), zeroPath(), remarkedPath(), broken, mixedPath()))
	var got []struct{ Fields map[string]float64 }
	require.NoError(t, json.Unmarshal(get(API(Handlers{Latest: l}), "/influxdata").Body.Bytes(), &got))
	require.Len(t, got, 3, "counts that contradict each other are given to nobody, and LLAMA has no point of no probes")
	require.Equal(t, map[string]float64{"sent": 320, "lost": 320, "loss": 100}, got[0].Fields, "where LLAMA has an RTT of 0")
	require.Equal(t, map[string]float64{"sent": 38, "lost": 18, "loss": 47.368421, "rtt": 0.013375}, got[1].Fields,
		"whatever did not come back in time is lost, but for what this host dropped")
	require.Equal(t, map[string]float64{"sent": 38, "lost": 18, "loss": 47.368421}, got[2].Fields, "mixed clocks have no RTT")
}

func TestLatencyHasTheFirstLLAMAsForm(t *testing.T) {
	l := NewLatest(probe.Host{Name: "a1-h1"})
	api := API(Handlers{Latest: l})
	require.Equal(t, "[]\n", get(api, "/latency").Body.String(), "before the first window")
	require.Equal(t, "[]\n", get(api, "/influxdata").Body.String())
	p, gone := plainPath(), lostPath()
	p.DstTags, gone.DstTags = nil, nil
	l.Set(window(p, gone))
	const tags = `{"tags":{"class":"be","clock":"socket","dst":"reflector02","dst_ip":"10.0.2.7","family":"4","src":"a1-h1","src_ip":"10.0.1.5"},`
	require.Equal(t, `[`+tags+`"data":[["rtt",0.013375,1772366410],["loss",0.000000,1772366410]]},`+
		tags+`"data":[["rtt",null,1772366410],["loss",100.000000,1772366410]]}]`+"\n", get(api, "/latency").Body.String())
	end, ok := l.End()
	require.True(t, ok)
	require.Equal(t, testEnd, end)
}

func TestLatestIsBounded(t *testing.T) {
	l := NewLatest(testHost)
	_, ok := l.End()
	require.False(t, ok)
	w := window(make([]probe.Path, maxLatest+3)...)
	for i := range w.Paths {
		w.Paths[i].Counts = probe.Counts{Sent: 1, Received: 1}
	}
	l.Set(w)
	require.Equal(t, uint64(3), l.Cut())
	var got []json.RawMessage
	body, err := l.Influx()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(body, &got))
	require.Len(t, got, maxLatest)
}

func TestLatestConcurrently(t *testing.T) {
	l := NewLatest(testHost)
	api := API(Handlers{Latest: l})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				l.Set(window(plainPath(), v6Path()))
				if rec := get(api, "/influxdata"); !json.Valid(rec.Body.Bytes()) {
					t.Errorf("not JSON: %s", rec.Body)
				}
			}
		})
	}
	wg.Wait()
}

func TestStatusAndHealth(t *testing.T) {
	var reasons []string
	api := API(Handlers{Health: func() []string { return reasons }})
	rec := get(api, "/status")
	require.Equal(t, "ok", rec.Body.String())
	require.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
	rec = get(api, "/healthz")
	require.Equal(t, 200, rec.Code)
	require.JSONEq(t, `{"status":"ok","reasons":[]}`, rec.Body.String())
	reasons = []string{"the last window is 42 s old"}
	rec = get(api, "/healthz")
	require.Equal(t, 503, rec.Code)
	require.JSONEq(t, `{"status":"unhealthy","reasons":["the last window is 42 s old"]}`, rec.Body.String())
	require.Equal(t, 200, get(api, "/status").Code, "as LLAMA's: it answers, that is all")
}

func TestAPIGuard(t *testing.T) {
	api := API(Handlers{Hosts: []string{"Agent.example:5000", "probe1"}})
	for name, c := range map[string]struct {
		want   int
		change []func(*http.Request)
	}{
		"ip":                       {200, nil},
		"ipv6":                     {200, []func(*http.Request){host("[::1]:5000")}},
		"ipv6 bare":                {200, []func(*http.Request){host("[2001:db8::1]")}},
		"localhost":                {200, []func(*http.Request){host("LOCALHOST:5000")}},
		"configured name":          {200, []func(*http.Request){host("agent.example.:5000")}},
		"another configured":       {200, []func(*http.Request){host("probe1")}},
		"rebound name":             {403, []func(*http.Request){host("evil.example:5000")}},
		"name ending in ours":      {403, []func(*http.Request){host("xprobe1")}},
		"looks like an address":    {403, []func(*http.Request){host("127.0.0.1.evil.example")}},
		"no host":                  {403, []func(*http.Request){host("")}},
		"same origin":              {200, []func(*http.Request){header("Origin", "http://127.0.0.1:5000")}},
		"other origin":             {403, []func(*http.Request){header("Origin", "http://evil.example")}},
		"other port":               {403, []func(*http.Request){header("Origin", "http://127.0.0.1:80")}},
		"null origin":              {403, []func(*http.Request){header("Origin", "null")}},
		"empty origin":             {403, []func(*http.Request){header("Origin", "")}},
		"two origins":              {403, []func(*http.Request){header("Origin", "http://127.0.0.1:5000"), header("Origin", "http://evil.example")}},
		"origin with a user":       {403, []func(*http.Request){header("Origin", "http://x@127.0.0.1:5000")}},
		"head":                     {200, []func(*http.Request){method(http.MethodHead)}},
		"post":                     {405, []func(*http.Request){method(http.MethodPost)}},
		"delete":                   {405, []func(*http.Request){method(http.MethodDelete)}},
		"options":                  {405, []func(*http.Request){method(http.MethodOptions)}},
		"post of a foreign origin": {403, []func(*http.Request){method(http.MethodPost), header("Origin", "http://evil.example")}},
	} {
		rec := get(api, "/influxdata", c.change...)
		require.Equal(t, c.want, rec.Code, name)
		require.Empty(t, rec.Header().Get("Access-Control-Allow-Origin"), name)
		if c.want == 405 {
			require.Equal(t, "GET, HEAD", rec.Header().Get("Allow"))
		}
	}
	require.Equal(t, 404, get(api, "/quitquit").Code)
	require.Equal(t, 404, get(api, "/status/").Code)
}

// The server refuses a header beyond its bound, and serves all others.
func TestServerBoundsHeaders(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := NewServer(API(Handlers{}))
	require.Positive(t, s.ReadHeaderTimeout)
	require.Positive(t, s.WriteTimeout)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	ask := func(value string) int {
		r, err := http.NewRequest(http.MethodGet, "http://"+l.Addr().String()+"/status", nil)
		require.NoError(t, err)
		r.Header.Set("X-Long", value)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
		resp, err := client.Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Equal(t, 200, ask("x"))
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, ask(strings.Repeat("x", 64<<10)))
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
}
