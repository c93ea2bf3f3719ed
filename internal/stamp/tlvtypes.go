package stamp

// ClassOfService is the Value of TLV 4 (RFC 8972, 4.4 with erratum 8199):
// DSCP1(6) DSCP2(6) ECN(2) RP(2) Reserved(16).
type ClassOfService struct {
	DSCP1 uint8 // wanted for the reply, by the sender
	DSCP2 uint8 // as the request arrived
	ECN   uint8 // as the request arrived
	RP    uint8 // 1: the reflector's policy refused DSCP1
}

// DirectMeasurement is the Value of TLV 5 (RFC 8972, 4.5).
type DirectMeasurement struct {
	SenderTx    uint32 // S_TxC: probes sent in this session, this one included
	ReflectorRx uint32 // R_RxC: probes received, this one included
	ReflectorTx uint32 // R_TxC: replies sent, this one included
}

// Sources of synchronisation (RFC 8972, 5.4).
const (
	SyncNTP   = 1
	SyncPTP   = 2
	SyncSSU   = 3
	SyncGNSS  = 4
	SyncLocal = 5 // free-running
)

// Methods of timestamping (RFC 8972, 5.5).
const (
	MethodHW      = 1 // by the NIC
	MethodSW      = 2 // by the host
	MethodControl = 3 // by the control plane
)

// TimestampInformation is the Value of TLV 3 (RFC 8972, 4.3), about T2 (In)
// and T3 (Out) of the reflector.
type TimestampInformation struct {
	SyncIn, MethodIn   uint8
	SyncOut, MethodOut uint8
}

// Access IDs and return codes of TLV 6 (RFC 8972, 4.6 and 5.6).
const (
	Access3GPP         = 1
	AccessNon3GPP      = 2
	NetworkAvailable   = 1
	NetworkUnavailable = 2
)

// AccessReport is the Value of TLV 6 (RFC 8972, 4.6).
type AccessReport struct {
	ID         uint8 // 4 bits
	ReturnCode uint8
}

// FollowUp is the Value of TLV 7 (RFC 8972, 4.7): when the previous reply of
// the session really left.
type FollowUp struct {
	Seq       uint32 // of that reply
	Timestamp Timestamp
	Method    uint8
}

// PutClassOfService writes TLV 4 asking for replies with dscp1; it returns
// its length.
func PutClassOfService(b []byte, dscp1 uint8) int {
	PutHeader(b, TypeClassOfService, 4)
	c := ClassOfService{DSCP1: dscp1}
	c.put(b[TLVHeaderLen:])
	return ClassOfServiceLen
}

func (c *ClassOfService) put(v []byte) {
	be.PutUint32(v, uint32(c.DSCP1&63)<<26|uint32(c.DSCP2&63)<<20|uint32(c.ECN&3)<<18|uint32(c.RP&3)<<16)
}

func (c *ClassOfService) decode(v []byte) {
	w := be.Uint16(v)
	*c = ClassOfService{DSCP1: uint8(w >> 10), DSCP2: uint8(w>>4) & 63, ECN: uint8(w>>2) & 3, RP: uint8(w) & 3}
}

// PutDirectMeasurement writes TLV 5; the reflector's counters are zero.
func PutDirectMeasurement(b []byte, senderTx uint32) int {
	PutHeader(b, TypeDirectMeasurement, 12)
	be.PutUint32(b[4:], senderTx)
	be.PutUint64(b[8:], 0)
	return DirectMeasurementLen
}

func (d *DirectMeasurement) decode(v []byte) {
	*d = DirectMeasurement{be.Uint32(v), be.Uint32(v[4:]), be.Uint32(v[8:])}
}

// PutTimestampInformation writes TLV 3, zeroed, as a request.
func PutTimestampInformation(b []byte) int {
	PutHeader(b, TypeTimestampInformation, 4)
	be.PutUint32(b[4:], 0)
	return TimestampInformationLen
}

func (t *TimestampInformation) put(v []byte) {
	v[0], v[1], v[2], v[3] = t.SyncIn, t.MethodIn, t.SyncOut, t.MethodOut
}

func (t *TimestampInformation) decode(v []byte) {
	*t = TimestampInformation{v[0], v[1], v[2], v[3]}
}

// PutFollowUpTelemetry writes TLV 7, zeroed, as a request.
func PutFollowUpTelemetry(b []byte) int {
	PutHeader(b, TypeFollowUpTelemetry, 16)
	clear(b[4:FollowUpTelemetryLen])
	return FollowUpTelemetryLen
}

func (f *FollowUp) put(v []byte) {
	be.PutUint32(v, f.Seq)
	be.PutUint64(v[4:], uint64(f.Timestamp))
	be.PutUint32(v[12:], uint32(f.Method)<<24) // three reserved octets
}

func (f *FollowUp) decode(v []byte) {
	*f = FollowUp{be.Uint32(v), Timestamp(be.Uint64(v[4:])), v[12]}
}

// PutAccessReport writes TLV 6.
func PutAccessReport(b []byte, r AccessReport) int {
	PutHeader(b, TypeAccessReport, 4)
	r.put(b[TLVHeaderLen:])
	return AccessReportLen
}

func (r *AccessReport) put(v []byte) {
	be.PutUint32(v, uint32(r.ID&15)<<28|uint32(r.ReturnCode)<<16)
}

func (r *AccessReport) decode(v []byte) { *r = AccessReport{v[0] >> 4, v[1]} }

// valid tells whether the Access ID is one of the two that there are.
func (r *AccessReport) valid() bool { return r.ID == Access3GPP || r.ID == AccessNon3GPP }

// PutHMAC writes an empty TLV 8; Authenticator.SignTLV fills it in once all
// TLVs before it stand.
func PutHMAC(b []byte) int {
	PutHeader(b, TypeHMAC, macLen)
	clear(b[TLVHeaderLen:HMACLen])
	return HMACLen
}

// PutExtraPadding writes TLV 1 of n octets in all, header included: n is at
// least TLVHeaderLen and at most 65535+TLVHeaderLen. The Value is pseudorandom
// (RFC 8972, 4.1: SHOULD), the same for the same seed, so that a link which
// compresses has nothing to gain; a seed of 0 gives zeroes (MAY).
func PutExtraPadding(b []byte, n int, seed uint64) int {
	PutHeader(b, TypeExtraPadding, n-TLVHeaderLen)
	v := b[TLVHeaderLen:n]
	if seed == 0 {
		clear(v)
		return n
	}
	for i := range v {
		if i%8 == 0 { // xorshift64*: never 0, eight octets a step
			seed ^= seed >> 12
			seed ^= seed << 25
			seed ^= seed >> 27
		}
		v[i] = byte((seed * 0x2545f4914f6cdd1d) >> (8 * (i % 8)))
	}
	return n
}
