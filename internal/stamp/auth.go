package stamp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash"
)

// Authenticator computes HMAC-SHA-256 truncated to 128 bits (RFC 8762, 4.4;
// RFC 8972, 4.8) without allocating. It is not safe for concurrent use: give
// each worker its own.
type Authenticator struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

// NewAuthenticator prepares a key. An empty key is refused.
func NewAuthenticator(key []byte) (*Authenticator, error) {
	if len(key) == 0 {
		return nil, errors.New("hmac key is empty")
	}
	a := &Authenticator{mac: hmac.New(sha256.New, key)}
	// The first Sum and Reset store the hashed key; do it now rather than in
	// the path of the first packet.
	a.mac.Sum(a.sum[:0])
	a.mac.Reset()
	return a, nil
}

// Sign writes the HMAC of an authenticated base packet over its first 96
// octets. b must hold AuthBaseLen octets.
func (a *Authenticator) Sign(b []byte) {
	copy(b[authMACOffset:AuthBaseLen], a.digest(b[:authMACOffset], nil))
}

// Verify tells whether the HMAC of an authenticated base packet is right, in
// time that does not depend on it.
func (a *Authenticator) Verify(b []byte) bool {
	if len(b) < AuthBaseLen {
		return false
	}
	return subtle.ConstantTimeCompare(a.digest(b[:authMACOffset], nil), b[authMACOffset:AuthBaseLen]) == 1
}

// SignTLV fills the HMAC TLV whose header stands at offset at of the packet b:
// it covers the Sequence Number and all TLVs before it (RFC 8972, 4.8), which
// begin at base. The TLV must be whole.
func (a *Authenticator) SignTLV(b []byte, base, at int) {
	copy(b[at+TLVHeaderLen:at+HMACLen], a.digest(b[:4], b[base:at]))
}

// VerifyTLV tells whether the HMAC TLV at offset at of the packet b is right.
func (a *Authenticator) VerifyTLV(b []byte, base, at int) bool {
	if base < 4 || at < base || len(b) < at+HMACLen {
		return false
	}
	return subtle.ConstantTimeCompare(a.digest(b[:4], b[base:at]), b[at+TLVHeaderLen:at+HMACLen]) == 1
}

// digest is the truncated HMAC of x and y; valid until the next call.
func (a *Authenticator) digest(x, y []byte) []byte {
	a.mac.Reset()
	a.mac.Write(x)
	if len(y) > 0 {
		a.mac.Write(y)
	}
	return a.mac.Sum(a.sum[:0])[:macLen]
}
