package stamp

// checkIntegrity finds and verifies the HMAC TLV (RFC 8972, 4.8). It returns
// its offset, 0 if there is none, and whether the TLVs may be used:
//   - an HMAC TLV must verify: without a key it cannot;
//   - with a key there must be one, unless Extra Padding is all there is;
//   - it must be the last TLV but for Extra Padding, whole, and the only one.
func checkIntegrity(b []byte, m Mode, auth *Authenticator) (at int, ok bool) {
	base := m.BaseLen()
	if auth == nil && !MayHave(b, base, TypeHMAC) {
		return 0, true
	}
	count, padding, misplaced := 0, 0, false
	it := NewTLVs(b, base)
	for it.Next() {
		count++
		switch {
		case it.Type == TypeExtraPadding && !it.Past:
			padding++
		case it.Type == TypeHMAC && at == 0:
			at = it.Offset
			misplaced = it.Past || !validLength(TypeHMAC, len(it.Value))
		case at > 0:
			misplaced = true
		}
	}
	if at > 0 {
		return at, auth != nil && !misplaced && auth.VerifyTLV(b, base, at)
	}
	return 0, auth == nil || count == 0 || count == 1 && padding == 1
}

// reflectTLVs answers the TLVs in place. The flags that the sender set are
// ignored; each is written anew, the reserved bits to zero.
func reflectTLVs(b []byte, a *Arrival, r *Result, integrity bool) {
	it := NewTLVs(b, a.Mode.BaseLen())
	cos := false // the first Class of Service TLV decides the reply's DSCP
	for it.Next() {
		flags := &b[it.Offset]
		switch {
		case it.Past || !validLength(it.Type, len(it.Value)) ||
			integrity && it.Type == TypeLocation && a.Location != nil && !checkSubs(it.Value):
			*flags = FlagM | unknownFlag(it.Type)
			r.Malformed = true
			if it.Type == TypeFollowUpTelemetry {
				clear(it.Value[:min(12, len(it.Value))]) // RFC 8972, 4.7
			}
		case !integrity:
			*flags = unknownFlag(it.Type)
		case answerTLV(&it.TLV, a, r, &cos):
			*flags = 0
		default:
			*flags = FlagU
			r.Unknown = true
		}
		if !integrity {
			// Verification failed: nothing is used, all is copied, and every
			// TLV says so.
			*flags |= FlagI
			r.Integrity = true
			continue
		}
		if r.Malformed {
			break // the rest stays a copy
		}
	}
	r.TLVs = it.Count()
	r.Trailing = len(b) - it.End()
}

// unknownFlag is U for a type that RFC 8972 does not define.
func unknownFlag(typ uint8) uint8 {
	if typ == 0 || typ > TypeHMAC {
		return FlagU
	}
	return 0
}

// answerTLV fills in one well-formed TLV and tells whether it was understood.
func answerTLV(t *TLV, a *Arrival, r *Result, cos *bool) bool {
	switch t.Type {
	case TypeExtraPadding, TypeHMAC:
		return true
	case TypeClassOfService:
		answerCoS(t.Value, a, r, *cos)
		*cos = true
		return true
	case TypeDirectMeasurement:
		if a.Stateless {
			return false // no counters to tell of
		}
		be.PutUint32(t.Value[4:], a.Rx)
		be.PutUint32(t.Value[8:], a.Tx)
		return true
	case TypeTimestampInformation:
		if a.Info == nil {
			return false
		}
		a.Info.put(t.Value)
		return true
	case TypeFollowUpTelemetry:
		var f FollowUp // zeroes: stateless, or nothing to tell of
		if !a.Stateless && a.FollowUp != nil {
			f = *a.FollowUp
		}
		f.put(t.Value)
		return true
	case TypeAccessReport:
		// The report is for the reflector's host; the reply confirms it. One
		// with an invalid ID is to be discarded: it stays unanswered.
		var rep AccessReport
		if rep.decode(t.Value); !rep.valid() {
			return false
		}
		rep.put(t.Value) // zeroes the reserved bits
		return true
	case TypeLocation:
		if a.Location == nil {
			return false
		}
		a.Location.answer(t.Value)
		return true
	}
	return false
}

// answerCoS reports the class that arrived and applies the class wanted for
// the reply if the policy permits it (RFC 8972, 4.4). A reply has one DSCP:
// a second TLV that wants another one is refused.
func answerCoS(v []byte, a *Arrival, r *Result, second bool) {
	var c ClassOfService
	c.decode(v)
	c.DSCP2, c.ECN, c.RP = a.DSCP, a.ECN, 0
	switch {
	case second && c.DSCP1 == r.DSCP && !r.DSCPDenied:
	case !second && a.AllowDSCP.Has(c.DSCP1):
		r.DSCP = c.DSCP1
	default:
		c.RP = 1
		r.DSCPDenied = true
	}
	c.put(v)
}
