package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"strings"
)

// classOf tells what kind of failure an error without a [Failure] is.
func classOf(err error) ErrorClass {
	var timeout net.Error
	var file *fs.PathError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return ErrorTimeout
	case isTLS(err):
		return ErrorTLS
	case errors.As(err, &file):
		return ErrorLocal
	}
	return ErrorNetwork
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "tls: ") ||
		strings.Contains(err.Error(), plainHTTP)
}

// plainHTTP is net/http's own words, which it gives no name.
const plainHTTP = "server gave HTTP response to HTTPS client"

// mendTLS says what to do about a failure of the handshake; "" if its words do.
func mendTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	text := err.Error()
	switch {
	case errors.As(err, &unknown):
		return "; no authority that this host knows has signed the server's certificate: set ca_file"
	case strings.Contains(text, plainHTTP):
		return "; the server speaks no TLS there: url with http, or another port"
	case strings.Contains(text, "certificate required") || strings.Contains(text, "bad certificate"):
		return "; the server wants a certificate that it knows: set cert_file and key_file"
	}
	return ""
}
