package sink

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/servers"
)

// serveTLS answers 204 over TLS with the certificate of that name, to clients of the
// authority only.
func serveTLS(t *testing.T, a *servers.Authority, name string) string {
	pair, err := tls.LoadX509KeyPair(a.Path(name+".pem"), a.Path(name+".key"))
	require.NoError(t, err)
	clients := x509.NewCertPool()
	clients.AddCert(a.Cert)
	s := httptest.NewUnstartedServer(http.HandlerFunc(noContent))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestInfluxTLS(t *testing.T) {
	a, other := servers.NewAuthority(t), servers.NewAuthority(t)
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	a.Sign("server", &x509.Certificate{IPAddresses: loopback, ExtKeyUsage: both})
	a.Sign("elsewhere", &x509.Certificate{DNSNames: []string{"influx.example.net"}, ExtKeyUsage: both})
	a.Sign("expired", &x509.Certificate{IPAddresses: loopback, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: both})
	a.Sign("client", &x509.Certificate{ExtKeyUsage: both})
	other.Sign("client", &x509.Certificate{ExtKeyUsage: both})
	good := TLSConfig{CA: a.Path("ca.pem"), Cert: a.Path("client.pem"), Key: a.Path("client.key")}
	for name, c := range map[string]struct {
		server string
		change func(*TLSConfig)
		says   string // "": it works
	}{
		"own authority":       {"server", func(*TLSConfig) {}, ""},
		"unknown authority":   {"server", func(c *TLSConfig) { c.CA = "" }, "set ca_file"},
		"another authority":   {"server", func(c *TLSConfig) { c.CA = other.Path("ca.pem") }, "set ca_file"},
		"no client":           {"server", func(c *TLSConfig) { c.Cert, c.Key = "", "" }, "set cert_file and key_file"},
		"another's client":    {"server", func(c *TLSConfig) { c.Cert, c.Key = other.Path("client.pem"), other.Path("client.key") }, "tls: "},
		"expired":             {"expired", func(*TLSConfig) {}, "expired"},
		"another name":        {"elsewhere", func(*TLSConfig) {}, "127.0.0.1"},
		"another name, named": {"elsewhere", func(c *TLSConfig) { c.ServerName = "influx.example.net" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := InfluxConfig{URL: serveTLS(t, a, c.server), Database: "llama", TLS: good}
			c.change(&cfg.TLS)
			w, err := NewInflux(cfg)
			require.NoError(t, err)
			err = w.Write(t.Context(), batch("a\n"))
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			var f *Failure
			require.ErrorAs(t, err, &f)
			for try := 0; f.Class == ErrorNetwork && try < 20; try++ { // the server's reset was faster than its reason
				require.ErrorAs(t, w.Write(t.Context(), batch("a\n")), &f)
				err = f
			}
			require.Equal(t, ErrorTLS, f.Class, err)
			require.Equal(t, Retry, f.Do)
			require.ErrorContains(t, err, c.says)
		})
	}

	// Renewed files count at once for the client, and at Reopen for the authority.
	url := serveTLS(t, a, "server")
	w, err := NewInflux(InfluxConfig{URL: url, Database: "llama", TLS: good})
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), batch("a\n")))
	for _, file := range []string{"ca.pem", "client.pem", "client.key"} {
		data, err := os.ReadFile(other.Path(file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(a.Path(file), data, 0o600))
	}
	require.NoError(t, w.Reopen())
	require.ErrorContains(t, w.Write(t.Context(), batch("a\n")), "set ca_file")
	require.NoError(t, os.Remove(a.Path("ca.pem")))
	require.Error(t, w.Reopen(), "what cannot be read leaves all as it was")

	for _, cfg := range []TLSConfig{
		{CA: a.Path("no.pem")}, {CA: a.Path("client.key")}, {Cert: a.Path("client.pem"), Key: a.Path("server.key")},
	} {
		_, err := NewInflux(InfluxConfig{URL: url, Database: "llama", TLS: cfg})
		require.ErrorContains(t, err, "_file")
	}
}

// A proxy is taken from the environment, which is read once a process: in one of its own.
func TestInfluxProxy(t *testing.T) {
	proxy, last := server(t, noContent)
	out := child(t, "HTTP_PROXY="+proxy, "LLAMA_TEST_WRITE=http://influx.example.net:8086")
	require.Equal(t, "ok\n", out)
	require.Equal(t, seen{"/write", "db=llama&precision=ns", "", "gzip", "a\n"}, last())
}
