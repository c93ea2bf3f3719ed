package discover

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// maxRedirects is more than a list behind a load balancer needs.
const maxRedirects = 3

// Secure tells whether a list may come from there: by HTTPS, or from this host.
func Secure(u *url.URL) bool {
	if u.Scheme == "https" && u.Hostname() != "" {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (err == nil && a.IsLoopback() || u.Hostname() == "localhost")
}

// fetch asks a server whether its list has changed. Connections are not kept: the next question is minutes away.
func (f *follower) fetch(ctx context.Context, etag, modified string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.source.URL, nil)
	if err != nil {
		return a, fmt.Errorf("ask for list: %w", err)
	}
	if !Secure(req.URL) {
		return a, errors.New("ask for list: neither https, nor http to a loopback address")
	}
	if f.source.Token != "" {
		req.Header.Set("Authorization", "Bearer "+f.source.Token)
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	if modified != "" {
		req.Header.Set("If-Modified-Since", modified)
	}
	client, err := f.client()
	if err != nil {
		return a, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, fmt.Errorf("ask for list: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && etag+modified != "":
		return answer{same: true}, nil
	case resp.StatusCode != http.StatusOK:
		return a, fmt.Errorf("ask for list: the server answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	case resp.ContentLength > MaxBytes:
		return a, fmt.Errorf("ask for list: %d octets, and a list has %d at most", resp.ContentLength, MaxBytes)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxBytes+1))
	switch {
	case err != nil:
		return a, fmt.Errorf("read list: %w", err)
	case len(data) > MaxBytes:
		return a, fmt.Errorf("read list: more than %d octets", MaxBytes)
	}
	return answer{data: data, etag: plain(resp.Header.Get("ETag")), modified: plain(resp.Header.Get("Last-Modified"))}, nil
}

// plain is a header as it is sent back; one that is too long is none.
func plain(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}

// client is made anew for each question, so that a renewed file of authorities counts.
func (f *follower) client() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	t.ResponseHeaderTimeout = 10 * time.Second
	t.MaxResponseHeaderBytes = 64 << 10
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.source.CA != "" {
		pem, err := os.ReadFile(f.source.CA)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file %s: no certificate in it", f.source.CA)
		}
	}
	return &http.Client{Transport: t, CheckRedirect: follow}, nil
}

// follow goes where a server sends us, but not from HTTPS to anything else: a server elsewhere
// must not make the agent ask this host.
func follow(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case !Secure(req.URL) || via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("redirected to %s://%s, which is not https", req.URL.Scheme, req.URL.Host)
	}
	return nil
}
