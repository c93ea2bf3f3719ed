package stamp

import "bytes"

// TLV types of RFC 8972, 5.1.
const (
	TypeExtraPadding         = 1
	TypeLocation             = 2
	TypeTimestampInformation = 3
	TypeClassOfService       = 4
	TypeDirectMeasurement    = 5
	TypeAccessReport         = 6
	TypeFollowUpTelemetry    = 7
	TypeHMAC                 = 8
)

// STAMP TLV Flags of RFC 8972, 4. All other bits are reserved: zero.
const (
	FlagU = 0x80 // unrecognised: set by the sender, cleared by who understood
	FlagM = 0x40 // malformed
	FlagI = 0x20 // integrity: the HMAC TLV did not verify
)

// Lengths in octets, header included.
const (
	TLVHeaderLen            = 4
	ClassOfServiceLen       = TLVHeaderLen + 4
	DirectMeasurementLen    = TLVHeaderLen + 12
	AccessReportLen         = TLVHeaderLen + 4
	TimestampInformationLen = TLVHeaderLen + 4 // without sub-TLVs
	FollowUpTelemetryLen    = TLVHeaderLen + 16
	HMACLen                 = TLVHeaderLen + macLen
)

// MaxTLVs bounds the TLVs looked at in one packet. What lies beyond is copied
// as it came, its U flag set by the sender: not understood, which is true.
const MaxTLVs = 64

// TLV is one TLV in place: Value is a part of the packet.
type TLV struct {
	Offset int // of the header, in the packet
	Flags  uint8
	Type   uint8
	Value  []byte
	// Past says that Length runs past the end of the packet; Value is then
	// what there is of it, and nothing follows.
	Past bool
}

// TLVs walks the TLVs of a packet without allocating:
//
//	for it := stamp.NewTLVs(b, base); it.Next(); { use(it.TLV) }
//
// It ends at the first octet that is no TLV: fewer than four octets, or a
// header that is all zeroes, which is the padding of a TWAMP Light sender and
// not a TLV of the reserved type 0.
type TLVs struct {
	TLV
	b    []byte
	next int
	n    int
}

// NewTLVs starts at octet base of the packet b.
func NewTLVs(b []byte, base int) TLVs { return TLVs{b: b, next: base} }

// Next moves to the next TLV and tells whether there is one.
func (t *TLVs) Next() bool {
	if t.n >= MaxTLVs || t.Past || len(t.b)-t.next < TLVHeaderLen {
		return false
	}
	h := t.b[t.next:]
	if be.Uint32(h) == 0 {
		return false
	}
	length := int(be.Uint16(h[2:]))
	t.Offset, t.Flags, t.Type = t.next, h[0], h[1]
	if t.Past = length > len(h)-TLVHeaderLen; t.Past {
		length = len(h) - TLVHeaderLen
	}
	t.Value = h[TLVHeaderLen : TLVHeaderLen+length : TLVHeaderLen+length]
	t.next += TLVHeaderLen + length
	t.n++
	return true
}

// Count is how many TLVs were seen so far.
func (t *TLVs) Count() int { return t.n }

// End is the offset in the packet at which the last TLV that was seen ends.
func (t *TLVs) End() int { return t.next }

// MayHave is false only if no TLV of the packet b can be of the type: a search for
// its octet, which is a fraction of a walk over the TLVs.
func MayHave(b []byte, base int, typ uint8) bool {
	return len(b) > base && bytes.IndexByte(b[base:], typ) >= 0
}

// validLength tells whether a Value of n octets is possible for the type
// (RFC 8972, 4.1 to 4.8). Types that we do not know may have any length.
func validLength(typ uint8, n int) bool {
	switch typ {
	case TypeLocation, TypeTimestampInformation: // sub-TLVs may follow
		return n >= 4
	case TypeClassOfService, TypeAccessReport:
		return n == 4
	case TypeDirectMeasurement:
		return n == 12
	case TypeFollowUpTelemetry, TypeHMAC:
		return n == 16
	}
	return true
}

// PutHeader writes a TLV header as a Session-Sender sends it: U set, M and I
// clear (RFC 8972, 4). valueLen is the length of the Value in octets.
func PutHeader(b []byte, typ uint8, valueLen int) {
	b[0], b[1] = FlagU, typ
	be.PutUint16(b[2:], uint16(valueLen))
}
