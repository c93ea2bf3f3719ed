package stamp

import (
	"errors"
	"fmt"
)

// MaxSize is the largest STAMP packet in octets that fits a UDP datagram over
// IPv4.
const MaxSize = 65507

// maxBare bounds a probe that has everything but Extra Padding.
const maxBare = AuthBaseLen + ClassOfServiceLen + DirectMeasurementLen +
	TimestampInformationLen + FollowUpTelemetryLen + LocationLen + HMACLen

// ErrSize says that a packet of the wanted size cannot be built.
var ErrSize = errors.New("size does not fit the packet's parts")

// ProbeOptions is what a session's probes have in common.
type ProbeOptions struct {
	Mode          Mode
	SSID          uint16
	ErrorEstimate ErrorEstimate
	// DSCP1 is the class wanted for the reply.
	DSCP1 uint8
	// NoTLV builds the bare base packet, for a target that mishandles TLVs;
	// a greater Size is then filled with zeroes.
	NoTLV bool
	// TimestampInformation, FollowUp and Location add these requests.
	TimestampInformation, FollowUp, Location bool
	// Size is the length of the whole packet in octets, reached by Extra
	// Padding; 0 is as short as can be.
	Size int
	// PaddingSeed chooses the pseudorandom padding; 0 is zeroes.
	PaddingSeed uint64
	// Auth signs the probes: always needed in the authenticated mode; in the
	// other one it adds an HMAC TLV.
	Auth *Authenticator
}

// Template is a session's probe, built once. Only Sequence Number, Timestamp
// and the Direct Measurement counter change from probe to probe, and the
// HMACs with them. Like its Authenticator it is not for concurrent use.
type Template struct {
	b      []byte
	mode   Mode
	dm     int    // octet of S_TxC, 0: none
	hmac   int    // octet of the HMAC TLV, 0: none
	sum    uint32 // ones' complement, of b
	auth   *Authenticator
	layout *layout
}

// NewTemplate builds the probe: base, Class of Service, Direct Measurement
// (68 octets unauthenticated), what else was asked for, Extra Padding, HMAC.
func NewTemplate(o ProbeOptions) (*Template, error) {
	t := &Template{mode: o.Mode, auth: o.Auth, layout: o.Mode.layout()}
	if o.Mode == Authenticated && o.Auth == nil {
		return nil, errors.New("authenticated probe without a key")
	}
	if o.Size < 0 || o.Size > MaxSize {
		return nil, fmt.Errorf("probe of %d octets: %w", o.Size, ErrSize)
	}
	b := make([]byte, max(o.Size, maxBare))
	base := SenderPacket{SSID: o.SSID, ErrorEstimate: o.ErrorEstimate.orUnknown()}
	base.put(b, o.Mode)
	n := t.layout.size
	if !o.NoTLV {
		n += PutClassOfService(b[n:], o.DSCP1)
		t.dm = n + TLVHeaderLen
		n += PutDirectMeasurement(b[n:], 0)
		n += putOptional(b[n:], &o)
	}
	if o.Auth != nil && !o.NoTLV {
		n += HMACLen
	}
	pad := 0
	if o.Size != 0 {
		pad = o.Size - n
	}
	if pad < 0 || !o.NoTLV && pad > 0 && pad < TLVHeaderLen {
		return nil, fmt.Errorf("probe of %d octets on %d: %w", o.Size, n, ErrSize)
	}
	// The HMAC TLV stands last. Padding might follow it by RFC 8972, 4.8, but
	// there are reflectors which take that for malformed.
	if !o.NoTLV && o.Auth != nil {
		t.hmac = n + pad - HMACLen
		PutHMAC(b[t.hmac:])
		n -= HMACLen
	}
	if pad > 0 && !o.NoTLV {
		PutExtraPadding(b[n:], pad, o.PaddingSeed)
	}
	n += pad
	if t.hmac > 0 {
		n += HMACLen
	}
	t.b = append([]byte(nil), b[:n]...)
	t.sum = onesSum(t.b)
	return t, nil
}

func putOptional(b []byte, o *ProbeOptions) (n int) {
	if o.TimestampInformation {
		n += PutTimestampInformation(b[n:])
	}
	if o.FollowUp {
		n += PutFollowUpTelemetry(b[n:])
	}
	if o.Location {
		n += PutLocation(b[n:], false)
	}
	return n
}

// Len is the length of the probe in octets.
func (t *Template) Len() int { return len(t.b) }

// SetErrorEstimate changes the clock's error in the probes to come.
func (t *Template) SetErrorEstimate(e ErrorEstimate) {
	be.PutUint16(t.b[t.layout.estimate:], uint16(e.orUnknown()))
	t.sum = onesSum(t.b)
}

// Sum is the ones' complement sum (RFC 1071), folded to 16 bits, of the probe that Put
// writes with the same values: for whoever makes the checksum around it. The probe must
// carry no HMAC, which only whoever reads it all could sum.
func (t *Template) Sum(seq uint32, t1 Timestamp, tx uint32) uint32 {
	// The template has zeroes there, and all of them lie at even octets.
	s := uint64(t.sum) + uint64(seq) + uint64(t1)>>32 + uint64(t1)&0xffffffff
	if t.dm > 0 {
		s += uint64(tx)
	}
	return fold(s)
}

func onesSum(b []byte) uint32 {
	var s uint64
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(be.Uint16(b))
	}
	if len(b) > 0 {
		s += uint64(b[0]) << 8
	}
	return fold(s)
}

// fold brings a sum of 32-bit words to 16 bits.
func fold(s uint64) uint32 {
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint32(s>>16 + s&0xffff)
}

// Put writes a probe into b, which must hold Len octets, and returns Len.
// tx is the Direct Measurement counter, this probe included.
func (t *Template) Put(b []byte, seq uint32, t1 Timestamp, tx uint32) int {
	b = b[:len(t.b)]
	copy(b, t.b)
	t.Update(b, seq, t1, tx)
	return len(b)
}

// Update changes a probe that Put has written into b and that still stands
// there: cheaper than writing it anew.
func (t *Template) Update(b []byte, seq uint32, t1 Timestamp, tx uint32) {
	be.PutUint32(b, seq)
	be.PutUint64(b[t.layout.timestamp:], uint64(t1))
	if t.dm > 0 {
		be.PutUint32(b[t.dm:], tx)
	}
	if t.hmac > 0 {
		t.auth.SignTLV(b, t.layout.size, t.hmac)
	}
	if t.mode == Authenticated {
		t.auth.Sign(b)
	}
}
