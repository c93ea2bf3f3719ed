//go:build linux

package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Authority signs certificates, for servers and for their clients.
type Authority struct {
	Cert *x509.Certificate // its own

	t   testing.TB
	dir string
	key *ecdsa.PrivateKey
}

// NewAuthority makes an authority, with its own certificate in ca.pem.
func NewAuthority(t testing.TB) *Authority {
	a := &Authority{t: t, dir: t.TempDir()}
	a.Sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// Path is where one of its files is.
func (a *Authority) Path(name string) string { return filepath.Join(a.dir, name) }

// Sign writes NAME.pem and NAME.key, signed by the authority or, the first, by itself.
func (a *Authority) Sign(name string, c *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	if a.Cert == nil {
		a.Cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.Cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	if c == a.Cert {
		a.Cert, err = x509.ParseCertificate(der)
		require.NoError(a.t, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		require.NoError(a.t, os.WriteFile(a.Path(name+file), pem.EncodeToMemory(block), 0o600))
	}
}
