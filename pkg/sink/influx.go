package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// InfluxConfig says where line protocol goes by HTTP: InfluxDB 1.x (Database) or
// 2.x and 3.x (Bucket), or whatever speaks either API: VictoriaMetrics, Telegraf's
// influxdb_listener and influxdb_v2_listener. A proxy is taken from the environment
// (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
type InfluxConfig struct {
	URL string // http or https, host, and where needed a path in front of /write

	Database        string // 1.x
	RetentionPolicy string // 1.x; empty: the database's default
	User, Password  string // 1.x; also taken from the URL

	Org, Bucket, Token string // 2.x; Org and Token where the server wants them

	TLS     TLSConfig
	Timeout time.Duration // of one request; 0: 10 s
	NoGzip  bool
}

// Influx is a [Writer] to InfluxDB's write API.
type Influx struct {
	client  atomic.Pointer[http.Client]
	cfg     InfluxConfig
	target  string // without any secret
	name    string
	packer  packer
	secrets []string
}

// NewInflux checks cfg and returns a writer; it opens no connection yet.
func NewInflux(cfg InfluxConfig) (*Influx, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil { // its text repeats the URL, password and all
		return nil, errors.New("influx url: it cannot be parsed")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("influx url: it must be http://HOST[:PORT] or https://HOST[:PORT]")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("influx url: no query in it, database and bucket have keys of their own")
	}
	if u.User != nil && cfg.User == "" {
		cfg.User = u.User.Username()
		cfg.Password, _ = u.User.Password()
	}
	u.User = nil
	if (cfg.Database == "") == (cfg.Bucket == "") {
		return nil, errors.New("influx: either a database (1.x) or a bucket (2.x)")
	}
	cfg.URL = ""
	cfg.Timeout = orDefault(cfg.Timeout, 10*time.Second)
	w := &Influx{cfg: cfg, name: "influx " + strings.TrimSuffix(u.String(), "/") + " " + where(&cfg)}
	w.target = writeURL(u, &cfg)
	for _, s := range []string{cfg.Password, cfg.Token} {
		if s != "" {
			w.secrets = append(w.secrets, s, url.QueryEscape(s))
		}
	}
	if err := w.Reopen(); err != nil {
		return nil, fmt.Errorf("influx: %w", err)
	}
	return w, nil
}

// where tells sinks at one server apart.
func where(cfg *InfluxConfig) string {
	parts := []string{cfg.Database, cfg.RetentionPolicy, cfg.Org, cfg.Bucket}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// Reopen reads the certificates again; requests under way end as they began.
func (w *Influx) Reopen() error {
	tc, err := w.cfg.TLS.load()
	if err != nil {
		return err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = tc
	t.ResponseHeaderTimeout = w.cfg.Timeout
	t.MaxResponseHeaderBytes = 64 << 10
	old := w.client.Swap(&http.Client{
		Transport: t, Timeout: w.cfg.Timeout,
		// A redirect would carry the measurements, perhaps the credentials too, to
		// where nobody configured them to go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	if old != nil {
		old.CloseIdleConnections()
	}
	return nil
}

func writeURL(u *url.URL, cfg *InfluxConfig) string {
	q := url.Values{"precision": {"ns"}}
	path := "write"
	if cfg.Bucket != "" {
		path = "api/v2/write"
		q.Set("bucket", cfg.Bucket)
		if cfg.Org != "" {
			q.Set("org", cfg.Org)
		}
	} else {
		q.Set("db", cfg.Database)
		if cfg.RetentionPolicy != "" {
			q.Set("rp", cfg.RetentionPolicy)
		}
	}
	target := u.JoinPath(path)
	target.RawQuery = q.Encode()
	return target.String()
}

// Name names the server, without credentials.
func (w *Influx) Name() string { return w.name }

// Write posts b in one request.
func (w *Influx) Write(ctx context.Context, b Batch) error {
	req, err := w.request(ctx, b)
	if err != nil {
		return err
	}
	resp, err := w.client.Load().Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return &Failure{Class: classOf(err), Err: fmt.Errorf("post: %w%s", err, mendTLS(err))}
	}
	defer resp.Body.Close()
	return w.judge(resp, b)
}

// request builds the request. The body is a buffer of its own each time: the
// transport may still be reading it after the answer has come.
func (w *Influx) request(ctx context.Context, b Batch) (*http.Request, error) {
	body := b.Gzip
	switch {
	case w.cfg.NoGzip:
		body = bytes.Clone(b.Data)
	case body == nil:
		var err error
		if body, err = w.packer.pack([]Batch{b}); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("User-Agent", "llama-agent")
	// The same batch twice is the same points: if a kept connection turns out to be closed,
	// net/http may use another. It sends no header that has no value.
	req.Header["X-Idempotency-Key"] = nil
	if !w.cfg.NoGzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	switch {
	case w.cfg.Token != "":
		req.Header.Set("Authorization", "Token "+w.cfg.Token)
	case w.cfg.User != "":
		req.SetBasicAuth(w.cfg.User, w.cfg.Password)
	}
	return req, nil
}

// Close ends idle connections.
func (w *Influx) Close() error {
	w.client.Load().CloseIdleConnections()
	return nil
}

// redact takes secrets out of text that came from elsewhere.
func (w *Influx) redact(text string) string {
	for _, s := range w.secrets {
		text = strings.ReplaceAll(text, s, "[secret]")
	}
	return text
}
