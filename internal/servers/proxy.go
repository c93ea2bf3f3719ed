//go:build linux

package servers

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Fault is how a [Proxy] treats a write.
type Fault int

// The faults of a proxy.
const (
	Pass      Fault = iota
	Status500       // nothing reaches the server
	Status429       // likewise, with Retry-After: 1
	Refuse          // one line, the first of those marked, is refused for good; the server gets all others, as a partial write
	Hang            // nothing reaches the server, and there is never an answer
	Mute            // the server gets all of it, and there is never an answer
)

// Proxy stands between the agents and a server and makes the faults of the network and of a bad server.
// Servers themselves are frozen and killed.
type Proxy struct {
	URL string

	server *Server
	mark   string // what the line to refuse begins with

	mu       sync.Mutex // protects the fields below
	fault    Fault
	ended    chan struct{} // closed when the fault ends: answers that never came will not
	attempts int           // writes since the fault began
	taken    int           // writes that were answered with success since then
	underWay int           // writes at the server
	refused  string        // the line
	lines    int           // that the server has acknowledged, in all
}

// NewProxy serves at ip in a place, which is also where the server runs.
func NewProxy(t testing.TB, place Place, ip string, server *Server, mark string) *Proxy {
	t.Helper()
	p := &Proxy{server: server, mark: mark, ended: make(chan struct{})}
	var l net.Listener
	require.NoError(t, place.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
		return err
	}))
	p.URL = "http://" + l.Addr().String()
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // until it is closed
	t.Cleanup(func() {
		p.Set(Pass)
		_ = s.Close()
	})
	return p
}

// Set begins a fault, or with Pass ends it.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ended)
	p.ended = make(chan struct{})
	p.fault, p.attempts, p.taken = f, 0, 0
}

// Attempts is the writes since Set.
func (p *Proxy) Attempts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.attempts
}

// Taken is the writes since Set that were answered with success.
func (p *Proxy) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Acknowledged is the lines that the server has taken in all, and whether no write is under way.
func (p *Proxy) Acknowledged() (lines int, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines, p.underWay == 0
}

// Refused is the line that was refused, if any was.
func (p *Proxy) Refused() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// begin counts a write and says what to do with it.
func (p *Proxy) begin() (Fault, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	if p.fault == Pass || p.fault == Mute || p.fault == Refuse {
		p.underWay++
	}
	return p.fault, p.ended
}

// ServeHTTP treats one write.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	lines, err := readBody(r)
	if err != nil { // the agent has gone
		panic(http.ErrAbortHandler)
	}
	fault, ended := p.begin()
	switch fault {
	case Status500:
		http.Error(w, `{"error":"out of order"}`, http.StatusInternalServerError)
		return
	case Status429:
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"error":"too many"}`, http.StatusTooManyRequests)
		return
	case Hang:
		never(w, r.Context(), ended)
		return
	}
	kept, refused := p.sift(lines, fault)
	code, body := p.forward(r, kept)
	switch {
	case fault == Mute:
		never(w, r.Context(), ended)
	case refused && code/100 == 2:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"partial write: field type conflict: input field \"x\" on measurement \"y\" is type float, already exists as type integer dropped=1"}`)
	case code == 0:
		http.Error(w, body, http.StatusBadGateway)
	default:
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func readBody(r *http.Request) (lines []string, err error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	b, err := io.ReadAll(body)
	return strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n"), err
}

// never ends without an answer, as soon as nobody waits for it.
func never(w http.ResponseWriter, ctx context.Context, ended chan struct{}) {
	select {
	case <-ctx.Done():
	case <-ended:
	}
	panic(http.ErrAbortHandler)
}

// sift leaves out the line to refuse, and chooses it if it is not chosen yet.
func (p *Proxy) sift(lines []string, fault Fault) (kept []string, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range lines {
		if fault == Refuse && p.refused == "" && strings.HasPrefix(line, p.mark) {
			p.refused = strings.TrimSuffix(line, "\n")
		}
		if strings.TrimSuffix(line, "\n") == p.refused {
			refused = true
			continue
		}
		kept = append(kept, line)
	}
	return kept, refused
}

// forward returns the server's answer, or 0 and why there is none. It waits for it even if the agent does not, so that
// what the server has taken is always known.
func (p *Proxy) forward(r *http.Request, lines []string) (code int, body string) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.underWay--
		if code/100 == 2 {
			p.taken++
			p.lines += len(lines)
		}
	}()
	if len(lines) == 0 {
		return http.StatusNoContent, ""
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, p.server.URL+r.URL.RequestURI(), bytes.NewBufferString(strings.Join(lines, "")+"\n"))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", r.Header.Get("Authorization"))
	resp, err := p.server.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}
