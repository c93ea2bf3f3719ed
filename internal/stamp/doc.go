// Package stamp encodes, decodes and reflects packets of the Simple Two-Way
// Active Measurement Protocol: RFC 8762 (base packets, both authentication
// modes) and RFC 8972 (session identifier and TLVs, with errata 8199 and 8339).
//
// It is pure: no sockets, no clock, no goroutines. What the caller knows of a
// packet's arrival it hands in as values, and every function works on the
// caller's buffer. Nothing allocates after construction, nothing panics on
// what the network sent, and a reply is always exactly as long as its request.
//
// docs/stamp.md has the octet tables and the conformance table.
package stamp

import "errors"

const (
	// Port is the default UDP port of a Session-Reflector (RFC 8762, 4.1).
	Port = 862
	// BaseLen is the length in octets of an unauthenticated base packet,
	// the same in both directions (RFC 8762, 4.2).
	BaseLen = 44
	// AuthBaseLen is the length in octets of an authenticated base packet.
	AuthBaseLen = 112
	// MinLen is the shortest request that can be answered at all: as long as
	// the shortest reply of TWAMP, which ends in the Session-Sender TTL
	// (RFC 5357, 4.2.1). A reply cut shorter would be of no use to its sender,
	// and no reflector could tell it from a request.
	MinLen = 41

	authMACOffset = 96 // octets the base HMAC covers, and where it stands
	macLen        = 16 // HMAC-SHA-256 truncated to 128 bits (RFC 8762, 4.4)
)

var (
	// ErrShort says that the packet is shorter than its base packet.
	ErrShort = errors.New("packet is shorter than a base packet")
	// ErrAuth says that the HMAC of the base packet does not verify.
	ErrAuth = errors.New("packet does not authenticate")
)

// Mode is the authentication mode of a session. It is configured, never
// guessed from a packet: 112 octets may be either.
type Mode uint8

const (
	// Unauthenticated is the 44-octet base packet.
	Unauthenticated Mode = iota
	// Authenticated is the 112-octet base packet that ends in an HMAC.
	Authenticated
)

// BaseLen is the length in octets of the base packet in this mode.
func (m Mode) BaseLen() int {
	if m == Authenticated {
		return AuthBaseLen
	}
	return BaseLen
}

// String is the mode's name as RFC 8762 has it.
func (m Mode) String() string {
	if m == Authenticated {
		return "authenticated"
	}
	return "unauthenticated"
}
