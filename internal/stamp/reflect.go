package stamp

// DSCPSet is a set of code points, bit n for DSCP n: which of them a Class of
// Service TLV may ask for (RFC 8972, 4.4 and 6).
type DSCPSet uint64

// AllDSCP permits every code point.
const AllDSCP = ^DSCPSet(0)

// Has tells whether the code point is in the set.
func (s DSCPSet) Has(dscp uint8) bool { return s>>(dscp&63)&1 != 0 }

// Arrival is what the caller knows of a request and of its session.
type Arrival struct {
	Mode Mode
	// Verified says that the caller has verified the base HMAC already (it
	// should, before it touches a session); Reflect then does not.
	Verified bool
	// TWAMPLight answers unauthenticated requests of MinLen to BaseLen-1
	// octets with the reply's first octets, as many as there were.
	TWAMPLight bool
	// Stateless copies the sender's sequence number and leaves TLVs that
	// need counters unanswered (RFC 8762, 4).
	Stateless bool

	Receive       Timestamp     // T2
	ErrorEstimate ErrorEstimate // of T2 and T3; says their Format too
	TTL           uint8         // TTL or hop limit, as received
	DSCP, ECN     uint8         // as received

	// Rx and Tx are the session's counters, this request and its reply
	// included: R_RxC and R_TxC. The reply's Sequence Number is Tx-1.
	Rx, Tx uint32

	// FollowUp tells of the session's previous reply; nil if there was none
	// or its time of leaving is not known.
	FollowUp *FollowUp
	// Info answers Timestamp Information; nil leaves it not understood.
	Info *TimestampInformation
	// Location answers the Location TLV; nil leaves it not understood.
	Location *Location
	// AllowDSCP are the code points that Class of Service may ask for.
	AllowDSCP DSCPSet
}

// Result is what Reflect found, and what is left to do for the caller.
type Result struct {
	Mode     Mode
	Seq      uint32 // of the reply
	SSID     uint16
	DSCP     uint8 // to send the reply with; ECN is 0
	T3Offset int   // octet at which Finish writes T3
	Sign     bool  // Finish signs the base packet

	TLVs       int  // that were seen
	Unknown    bool // a TLV or sub-TLV kept its U flag
	Malformed  bool // a TLV got the M flag; what follows it is a copy
	Integrity  bool // the HMAC TLV failed: every TLV got the I flag
	DSCPDenied bool // a requested DSCP was refused (RP=1)
	Trailing   int  // octets after the last TLV, copied
}

// Reflect turns the request in b into its reply, in place and of the same
// length, all but T3 and the base HMAC: Finish adds these just before the
// send. auth is nil where there is no key; in the unauthenticated mode a key
// switches the integrity protection of the TLVs on (RFC 8972, 4.8), which
// then must have an HMAC TLV.
//
// On an error b is as it was and there is no reply.
func Reflect(b []byte, a *Arrival, auth *Authenticator) (Result, error) {
	r := Result{Mode: a.Mode, DSCP: a.DSCP & 63, T3Offset: a.Mode.layout().timestamp}
	size := a.Mode.layout().size
	if len(b) < size {
		return r, reflectShort(b, a, &r)
	}
	if a.Mode == Authenticated {
		if auth == nil || !a.Verified && !auth.Verify(b) {
			return r, ErrAuth
		}
		r.Sign = true
	}
	// The HMAC TLV covers the Sequence Number of the request, so it is looked
	// at before the base packet is rewritten, and signed after.
	hmacAt, integrity := 0, true
	if len(b) > size {
		hmacAt, integrity = checkIntegrity(b, a.Mode, auth)
	}
	reflectBase(b, a, &r)
	if len(b) > size {
		reflectTLVs(b, a, &r, integrity)
		if integrity && hmacAt > 0 {
			auth.SignTLV(b, size, hmacAt)
		}
	}
	return r, nil
}

// reflectBase writes the reply's base packet over the request's.
func reflectBase(b []byte, a *Arrival, r *Result) {
	var req SenderPacket
	_ = req.decode(b, a.Mode) // the caller has checked the length
	r.SSID = req.SSID
	if r.Seq = a.Tx - 1; a.Stateless {
		r.Seq = req.Seq
	}
	p := ReflectorPacket{
		Seq:                 r.Seq,
		ErrorEstimate:       a.ErrorEstimate.orUnknown(),
		SSID:                req.SSID,
		ReceiveTimestamp:    a.Receive,
		SenderSeq:           req.Seq,
		SenderTimestamp:     req.Timestamp,
		SenderErrorEstimate: req.ErrorEstimate,
		SenderTTL:           a.TTL,
	}
	p.put(b, a.Mode)
}

// reflectShort answers a TWAMP Light sender whose packet is shorter than the
// base packet. The reply is cut to the request's length: an answer longer
// than its question would make an amplifier of us.
func reflectShort(b []byte, a *Arrival, r *Result) error {
	if !a.TWAMPLight || a.Mode != Unauthenticated || len(b) < MinLen {
		return ErrShort
	}
	var whole [BaseLen]byte
	copy(whole[:], b)
	reflectBase(whole[:], a, r)
	copy(b, whole[:])
	return nil
}

// Finish writes T3 and signs the base packet if it is to be signed. It is the
// last thing before the send, so that only one HMAC lies outside T3-T2.
func (r *Result) Finish(b []byte, t3 Timestamp, auth *Authenticator) {
	be.PutUint64(b[r.T3Offset:], uint64(t3))
	if r.Sign {
		auth.Sign(b)
	}
}
