package sink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates, as files in dir.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// sign writes NAME.pem and NAME.key, signed by the authority or, the first, by itself.
func (a *authority) sign(name string, c *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	if c == a.cert {
		a.cert, err = x509.ParseCertificate(der)
		require.NoError(a.t, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(a.t, os.WriteFile(a.path(name+file), pem.EncodeToMemory(block), 0o600))
	}
}

// serve answers 204 over TLS with the certificate of that name, to clients of the
// authority only.
func (a *authority) serve(name string) string {
	pair, err := tls.LoadX509KeyPair(a.path(name+".pem"), a.path(name+".key"))
	require.NoError(a.t, err)
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	s := httptest.NewUnstartedServer(http.HandlerFunc(noContent))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s.URL
}

func TestInfluxTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	a.sign("server", &x509.Certificate{IPAddresses: loopback, ExtKeyUsage: both})
	a.sign("elsewhere", &x509.Certificate{DNSNames: []string{"influx.example.net"}, ExtKeyUsage: both})
	a.sign("expired", &x509.Certificate{IPAddresses: loopback, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: both})
	a.sign("client", &x509.Certificate{ExtKeyUsage: both})
	other.sign("client", &x509.Certificate{ExtKeyUsage: both})
	good := TLSConfig{CA: a.path("ca.pem"), Cert: a.path("client.pem"), Key: a.path("client.key")}
	for name, c := range map[string]struct {
		server string
		change func(*TLSConfig)
		says   string // "": it works
	}{
		"own authority":       {"server", func(*TLSConfig) {}, ""},
		"unknown authority":   {"server", func(c *TLSConfig) { c.CA = "" }, "set ca_file"},
		"another authority":   {"server", func(c *TLSConfig) { c.CA = other.path("ca.pem") }, "set ca_file"},
		"no client":           {"server", func(c *TLSConfig) { c.Cert, c.Key = "", "" }, "set cert_file and key_file"},
		"another's client":    {"server", func(c *TLSConfig) { c.Cert, c.Key = other.path("client.pem"), other.path("client.key") }, "tls: "},
		"expired":             {"expired", func(*TLSConfig) {}, "expired"},
		"another name":        {"elsewhere", func(*TLSConfig) {}, "127.0.0.1"},
		"another name, named": {"elsewhere", func(c *TLSConfig) { c.ServerName = "influx.example.net" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := InfluxConfig{URL: a.serve(c.server), Database: "llama", TLS: good}
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
	url := a.serve("server")
	w, err := NewInflux(InfluxConfig{URL: url, Database: "llama", TLS: good})
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), batch("a\n")))
	for _, file := range []string{"ca.pem", "client.pem", "client.key"} {
		data, err := os.ReadFile(other.path(file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(a.path(file), data, 0o600))
	}
	require.NoError(t, w.Reopen())
	require.ErrorContains(t, w.Write(t.Context(), batch("a\n")), "set ca_file")
	require.NoError(t, os.Remove(a.path("ca.pem")))
	require.Error(t, w.Reopen(), "what cannot be read leaves all as it was")

	for _, cfg := range []TLSConfig{
		{CA: a.path("no.pem")}, {CA: a.path("client.key")}, {Cert: a.path("client.pem"), Key: a.path("server.key")},
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
