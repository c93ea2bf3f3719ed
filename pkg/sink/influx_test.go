package sink

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seen is a request as a server saw it.
type seen struct {
	path, query, auth, encoding, body string
}

func server(t *testing.T, answer http.HandlerFunc) (url string, last func() seen) {
	ch := make(chan seen, 16)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		text, _ := io.ReadAll(body)
		ch <- seen{r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Content-Encoding"), string(text)}
		answer(rw, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() seen { return <-ch }
}

func noContent(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) }

func TestInfluxRequests(t *testing.T) {
	url, last := server(t, noContent)
	for name, c := range map[string]struct {
		cfg  InfluxConfig
		want seen
	}{
		"1.x": {InfluxConfig{URL: url + "/", Database: "my db", RetentionPolicy: "week"},
			seen{"/write", "db=my+db&precision=ns&rp=week", "", "gzip", "a\n"}},
		"1.x plain, user in the url": {InfluxConfig{URL: strings.Replace(url, "//", "//u:p%40ss@", 1), Database: "llama", NoGzip: true},
			seen{"/write", "db=llama&precision=ns", "Basic dTpwQHNz", "", "a\n"}},
		"2.x under a path": {InfluxConfig{URL: url + "/tsdb", Org: "o", Bucket: "b", Token: "T0"},
			seen{"/tsdb/api/v2/write", "bucket=b&org=o&precision=ns", "Token T0", "gzip", "a\n"}},
	} {
		w, err := NewInflux(c.cfg)
		require.NoError(t, err, name)
		require.NoError(t, w.Write(t.Context(), batch("a\n")), name)
		require.Equal(t, c.want, last(), name)
		require.NotContains(t, w.Name(), "p%40ss")
		require.Contains(t, w.Name(), c.cfg.Database+c.cfg.Bucket)
		require.NoError(t, w.Close())
	}
}

func TestInfluxAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		code   int
		head   map[string]string
		body   string
		bucket bool
		want   Failure // but for Err
		says   string
	}{
		"database missing": {code: 404, body: `{"error":"database not found: \"llama\""}`,
			want: Failure{Class: ErrorHTTP4xx, Do: Hold}, says: `CREATE DATABASE "llama"`},
		"bucket missing": {code: 404, body: `{"code":"not found","message":"bucket \"b\" not found"}`, bucket: true,
			want: Failure{Class: ErrorHTTP4xx, Do: Hold}, says: `influx bucket create --org "o" --name "b"`},
		"no such api": {code: 404, body: `404 page not found`, want: Failure{Class: ErrorHTTP4xx, Do: Hold}, says: "no write API at this address"},
		"type conflict": {code: 400, body: `{"error":"partial write: field type conflict: input field \"a\" dropped=1"}`,
			want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true}, says: "partial write: field type conflict"},
		"type conflict everywhere": {code: 400, body: `{"error":"partial write: field type conflict dropped=3"}`,
			want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, All: true}, says: "dropped=3"},
		"lines quoted": {code: 400, body: `{"error":"partial write: unable to parse 'b': missing fields\nunable to parse 'c,x=1': bad timestamp dropped=0"}`,
			want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, Bad: []BadLine{{1, "missing fields"}, {2, "bad timestamp"}}}, says: "unable to parse"},
		"lines numbered": {code: 400, body: `{"error":"partial write of line protocol occurred","data":[{"original_line":"b","line_number":2,"error_message":"no fields"},{"line_number":9}]}`,
			want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, Bad: []BadLine{{1, "no fields"}}}, says: "partial write of line protocol"},
		"line counted": {code: 400, body: `{"error":"metric parse error: expected tag at 3:16: \"c,x=1\""}`,
			want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, Bad: []BadLine{{2, "expected tag"}}}, says: "expected tag"},
		"rest quoted": {code: 400, body: `cannot process influx line protocol data: incorrect influx line "b\nc,x=1\n": cannot find Whitespace I in "b"; see there`,
			want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true, Bad: []BadLine{{1, `cannot find Whitespace I in "b"; see there`}}}, says: "incorrect influx line"},
		"policy missing": {code: 500, body: `{"error":"retention policy not found: week"}`, want: Failure{Class: ErrorHTTP4xx, Do: Hold},
			says: `CREATE RETENTION POLICY "" ON "llama"`},
		"no such path":  {code: 400, body: `unsupported path requested: "/x/write"`, want: Failure{Class: ErrorHTTP4xx, Do: Hold}, says: "no write API at this address"},
		"a proxy's 400": {code: 400, body: "<html>Bad Request</html>", want: Failure{Class: ErrorHTTP4xx, Do: Refuse}, says: "Bad Request"},
		"too large":     {code: 413, want: Failure{Class: ErrorHTTP4xx, Do: Refuse, Sure: true}, says: "413"},
		"credentials":   {code: 401, body: `{"error":"bad password s3cr3t"}`, want: Failure{Class: ErrorAuth, Do: Hold}, says: "bad password [secret]"},
		"redirect": {code: 307, head: map[string]string{"Location": "http://u:p@elsewhere/write?t=1"}, want: Failure{Class: ErrorAnswer, Do: Hold},
			says: "redirect to http://elsewhere/write, which is not followed"},
		"too many":    {code: 429, head: map[string]string{"Retry-After": "7"}, want: Failure{Class: ErrorBusy, Wait: 7 * time.Second}, says: "429"},
		"unavailable": {code: 503, body: "a\x1b[31m\nb", want: Failure{Class: ErrorHTTP5xx}, says: "server answered 503: a [31m b"},
		"long words":  {code: 500, body: strings.Repeat("x", 100_000), want: Failure{Class: ErrorHTTP5xx}, says: strings.Repeat("x", maxWords) + "…"},
		"web page":    {code: 200, head: map[string]string{"Content-Type": "text/html"}, body: "<!doctype html>log in", want: Failure{Class: ErrorAnswer, Do: Hold}, says: "a web page and no write API"},
		"no success":  {code: 200, body: `{"error":"timeout"}`, want: Failure{Class: ErrorAnswer, Do: Hold}, says: "an error and no success"},
	} {
		t.Run(name, func(t *testing.T) {
			url, last := server(t, func(rw http.ResponseWriter, _ *http.Request) {
				for k, v := range c.head {
					rw.Header().Set(k, v)
				}
				rw.WriteHeader(c.code)
				_, _ = io.WriteString(rw, c.body)
			})
			cfg := InfluxConfig{URL: url, Database: "llama", User: "u", Password: "s3cr3t"}
			if c.bucket {
				cfg = InfluxConfig{URL: url, Org: "o", Bucket: "b", Token: "s3cr3t"}
			}
			w, err := NewInflux(cfg)
			require.NoError(t, err)
			err = w.Write(t.Context(), batch("a\nb\nc,x=1\n"))
			last()
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "s3cr3t")
			require.Less(t, len(err.Error()), 2*maxWords)
			var f *Failure
			require.ErrorAs(t, err, &f)
			got := *f
			got.Err = nil
			require.Equal(t, c.want, got)
		})
	}
}

// An answer without an end takes neither memory nor time without bounds, nor does it
// matter where it follows a success.
func TestInfluxEndlessAnswer(t *testing.T) {
	for _, code := range []int{200, 400, 500} {
		url, last := server(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(code)
			for {
				if _, err := rw.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		})
		w, err := NewInflux(InfluxConfig{URL: url, Database: "llama"})
		require.NoError(t, err)
		err = w.Write(t.Context(), batch("a\n"))
		last()
		require.Equal(t, code != 200, err != nil)
		require.NoError(t, w.Close())
	}
}

func TestInfluxSilentServerTimesOut(t *testing.T) {
	release := make(chan struct{})
	url, _ := server(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) }) // runs before the server's own clean-up
	w, err := NewInflux(InfluxConfig{URL: url, Database: "llama", Timeout: 50 * time.Millisecond, User: "u", Password: "s3cr3t"})
	require.NoError(t, err)
	err = w.Write(context.Background(), batch("a\n"))
	require.Error(t, err)
	var f *Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, ErrorTimeout, f.Class)
	require.Equal(t, Retry, f.Do)
	require.NotContains(t, err.Error(), "s3cr3t")
}

func TestInfluxConfigErrors(t *testing.T) {
	for _, cfg := range []InfluxConfig{
		{URL: "127.0.0.1:8086", Database: "d"},
		{URL: "ftp://h", Database: "d"},
		{URL: "http://u:s3cr3t@h:port", Database: "d"},
		{URL: "http://h?db=x", Database: "d"},
		{URL: "http://h"},
		{URL: "http://h", Database: "d", Bucket: "b"},
	} {
		_, err := NewInflux(cfg)
		require.ErrorContains(t, err, "influx", cfg.URL)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "12": 12 * time.Second, "-1": 0, "99999999999": 0, "soon": 0,
		"Sun, 01 Mar 2026 00:01:00 GMT": time.Minute, "Sat, 28 Feb 2026 00:00:00 GMT": 0,
	} {
		require.Equal(t, want, parseRetryAfter(text, now), text)
	}
}
