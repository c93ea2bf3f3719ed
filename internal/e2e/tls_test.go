//go:build linux

package e2e

import (
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/lab"
	"github.com/llama-agent/llama-agent/internal/servers"
)

// TestPushByTLSThroughProxy: Telegraf takes lines from clients of an authority of its own only, under a name that only
// a proxy knows, which the agent has from its environment.
func TestPushByTLSThroughProxy(t *testing.T) {
	l := lab.ForTest(t, 2)
	h1, h2 := l.Host(1), l.Host(2)
	reflectOverSockets(t, h2)
	a := servers.NewAuthority(t)
	a.Sign("server", &x509.Certificate{DNSNames: []string{"telegraf.example.net"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.Sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	g := servers.NewTelegraf(t, h2, fmt.Sprintf(`[[inputs.influxdb_listener]]
service_address = "%%s"
tls_allowed_cacerts = [%q]
tls_cert = %q
tls_key = %q
basic_username = "llama"
basic_password = "s3cret"
`, a.Path("ca.pem"), a.Path("server.pem"), a.Path("server.key")), "Started HTTP listener")
	const name = "telegraf.example.net:8186"
	proxy, asked := connectProxy(t, h2, name, g.Addr)
	t.Setenv("HTTPS_PROXY", proxy)

	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("s3cret\n"), 0o600))
	r := runWith(t, h1, ", mode: socket", fmt.Sprintf(`  - influx:
      {url: "https://%s", database: llama, username: llama, password_file: %s, ca_file: %s, cert_file: %s, key_file: %s, spread: false}
`, name, password, a.Path("ca.pem"), a.Path("client.pem"), a.Path("client.key"))+oneTarget)
	r.writes(t, "one", 2)
	eventually(t, func() bool { return len(g.Lines()) >= 4 }, "lines from Telegraf")
	r.stop(t)
	want, err := os.ReadFile(r.output)
	require.NoError(t, err)
	eventually(t, func() bool { return len(g.Lines()) >= strings.Count(string(want), "\n") }, "all lines")
	require.Equal(t, points(t, string(want)), points(t, strings.Join(g.Lines(), "\n")))
	require.Positive(t, asked())
	require.NotContains(t, r.log.String(), "s3cret")
}

// connectProxy is an HTTP proxy in the host, which connects to one address under one name.
func connectProxy(t *testing.T, h *lab.Host, name, addr string) (url string, asked func() int) {
	t.Helper()
	var tunnels = make(chan struct{}, 1000)
	var l net.Listener
	require.NoError(t, h.Do(func() (err error) {
		l, err = net.Listen("tcp", h.IPv4.String()+":0")
		return err
	}))
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != name {
			http.Error(w, "not here", http.StatusForbidden)
			return
		}
		var up net.Conn
		if err := h.Do(func() (err error) {
			up, err = net.Dial("tcp", addr)
			return err
		}); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		down, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		tunnels <- struct{}{}
		_, _ = io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			_, _ = io.Copy(up, down)
			_ = up.Close()
		}()
		_, _ = io.Copy(down, up) // until either end closes
		_ = down.Close()
	})}
	go func() { _ = s.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String(), func() int { return len(tunnels) }
}
