package sink

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSConfig is files in PEM. A certificate is always verified.
type TLSConfig struct {
	CA         string // of authorities; "": those of the system
	Cert, Key  string // of this client; "": none
	ServerName string // "": the host of the URL
}

func (c *TLSConfig) load() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read ca_file %s: no certificate in it", c.CA)
		}
	}
	if c.Cert == "" {
		return out, nil
	}
	if _, err := c.clientCertificate(nil); err != nil {
		return nil, err
	}
	out.GetClientCertificate = c.clientCertificate // a renewed one counts from the next connection on
	return out, nil
}

func (c *TLSConfig) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("read cert_file and key_file: %w", err)
	}
	return &pair, nil
}
