package stamp

// Reply is a decoded reply: the base packet and what came back of the TLVs.
// It is flat, so that decoding into it does not allocate.
type Reply struct {
	ReflectorPacket
	TLVs int // that were seen

	// Findings of RFC 8972, 4, as a Session-Sender has to heed them.
	Malformed    bool // an M flag, or a Length past the end: the rest was not read
	Integrity    bool // an I flag, or the HMAC TLV does not verify: no TLV was used
	Unrecognised bool // some TLV came back with its U flag

	// Understood has bit n set if a TLV of type n (1 to 8) came back with U
	// cleared, well formed. The values below hold only where it is.
	Understood uint16

	CoS      ClassOfService
	DM       DirectMeasurement
	Info     TimestampInformation
	Access   AccessReport
	FollowUp FollowUp
}

// Has tells whether the reflector understood the TLV of this type, so that
// its value in the reply is the reflector's.
func (r *Reply) Has(typ uint8) bool { return typ < 16 && r.Understood>>typ&1 != 0 }

// DecodeReply reads an unauthenticated reply. An HMAC TLV is not verified,
// for want of a key: see DecodeReplyAuth.
func DecodeReply(b []byte, r *Reply) error { return decodeReply(b, r, Unauthenticated, nil) }

// DecodeReplyAuth reads a reply of a session that has a key: the base HMAC is
// verified first in the authenticated mode (ErrAuth), and the HMAC TLV before
// any TLV is used.
func DecodeReplyAuth(b []byte, r *Reply, m Mode, auth *Authenticator) error {
	return decodeReply(b, r, m, auth)
}

func decodeReply(b []byte, r *Reply, m Mode, auth *Authenticator) error {
	*r = Reply{}
	base := m.BaseLen()
	if len(b) < base {
		return ErrShort
	}
	if m == Authenticated && (auth == nil || !auth.Verify(b)) {
		return ErrAuth
	}
	_ = r.decode(b, m) // the length is checked
	if len(b) == base {
		return nil
	}
	if auth != nil {
		if _, ok := checkIntegrity(b, m, auth); !ok {
			r.Integrity = true
			return nil
		}
	}
	r.readTLVs(b, base)
	return nil
}

// readTLVs heeds the flags in the order that RFC 8972, 4 demands: one I flag
// anywhere voids every TLV, M ends the reading, U skips the TLV.
func (r *Reply) readTLVs(b []byte, base int) {
	it := NewTLVs(b, base)
	for it.Next() {
		switch {
		case it.Flags&FlagI != 0:
			*r = Reply{ReflectorPacket: r.ReflectorPacket, TLVs: it.Count(), Integrity: true}
			return
		case r.Malformed: // only looking for an I flag now
		case it.Past || it.Flags&FlagM != 0:
			r.Malformed = true
		case it.Flags&FlagU != 0:
			r.Unrecognised = true
		case !validLength(it.Type, len(it.Value)):
			r.Malformed = true
		default:
			r.take(&it.TLV)
		}
	}
	r.TLVs = it.Count()
}

// take keeps the value of one TLV. Of two of a type the first counts.
func (r *Reply) take(t *TLV) {
	if t.Type == 0 || t.Type > TypeHMAC || r.Has(t.Type) {
		return
	}
	switch t.Type {
	case TypeClassOfService:
		r.CoS.decode(t.Value)
	case TypeDirectMeasurement:
		r.DM.decode(t.Value)
	case TypeTimestampInformation:
		r.Info.decode(t.Value)
	case TypeFollowUpTelemetry:
		r.FollowUp.decode(t.Value)
	case TypeAccessReport:
		if r.Access.decode(t.Value); !r.Access.valid() {
			r.Access = AccessReport{}
			return
		}
	}
	r.Understood |= 1 << t.Type
}
