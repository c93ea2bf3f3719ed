package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every TLV by "valid builder and one mutation": the request's TLVs, the
// reply's octets after the base packet, and what Reflect found.
func TestReflectTLVs(t *testing.T) {
	type found struct {
		tlvs                       int
		unknown, malformed, denied bool
		trailing                   int
		dscp                       uint8
	}
	ok := func(n int) found { return found{tlvs: n, dscp: 46} }
	for _, c := range []struct {
		name  string
		tlvs  []byte
		setup func(*Arrival)
		want  string
		found found
	}{
		{"padding", tlvRaw(FlagU, 1, 3, 7, 8, 9), nil, "00010003 070809", ok(1)},
		{"padding-twice", append(tlvRaw(FlagU, 1, 1, 7), tlvRaw(FlagU, 1, 0)...), nil, "00010001 07 00010000", ok(2)},
		{"cos", tlvCoS(10), nil, "00040004 2ae40000", found{tlvs: 1, dscp: 10}},
		{"cos-same-class", tlvCoS(46), nil, "00040004 bae40000", found{tlvs: 1, dscp: 46}},
		{"cos-denied", tlvCoS(10), func(a *Arrival) { a.AllowDSCP = 1 << 46 }, "00040004 2ae50000",
			found{tlvs: 1, dscp: 46, denied: true}},
		{"cos-sender-fields-ignored", tlvRaw(FlagU, 4, 4, 0x2b, 0xff, 0xff, 0xff), nil, "00040004 2ae40000",
			found{tlvs: 1, dscp: 10}},
		{"cos-two-agree", append(tlvCoS(10), tlvCoS(10)...), nil, "00040004 2ae40000 00040004 2ae40000",
			found{tlvs: 2, dscp: 10}},
		{"cos-two-differ", append(tlvCoS(10), tlvCoS(11)...), nil, "00040004 2ae40000 00040004 2ee50000",
			found{tlvs: 2, dscp: 10, denied: true}},
		{"cos-length-3", tlvRaw(FlagU, 4, 3, 1, 2, 3), nil, "40040003 010203",
			found{tlvs: 1, malformed: true, dscp: 46}},
		{"cos-length-5", tlvRaw(FlagU, 4, 5, 1, 2, 3, 4, 5), nil, "40040005 0102030405",
			found{tlvs: 1, malformed: true, dscp: 46}},
		{"direct-measurement", tlvDM(9), nil, "0005000c 00000009 00000005 00000003", ok(1)},
		{"dm-sender-counters-ignored", tlvRaw(FlagU, 5, 12, 0, 0, 0, 9, 1, 1, 1, 1, 2, 2, 2, 2), nil,
			"0005000c 00000009 00000005 00000003", ok(1)},
		{"dm-stateless", tlvDM(9), func(a *Arrival) { a.Stateless = true }, "8005000c 00000009 00000000 00000000",
			found{tlvs: 1, unknown: true, dscp: 46}},
		{"dm-length-8", tlvRaw(FlagU, 5, 8, 0, 0, 0, 9, 0, 0, 0, 0), nil, "40050008 00000009 00000000",
			found{tlvs: 1, malformed: true, dscp: 46}},
		{"timestamp-information", built(PutTimestampInformation), nil, "00030004 01020102", ok(1)},
		{"timestamp-information-unanswered", built(PutTimestampInformation), func(a *Arrival) { a.Info = nil },
			"80030004 00000000", found{tlvs: 1, unknown: true, dscp: 46}},
		{"timestamp-information-sub-tlvs", tlvRaw(FlagU, 3, 6, 0, 0, 0, 0, 5, 6), nil, "00030006 01020102 0506", ok(1)},
		{"timestamp-information-short", tlvRaw(FlagU, 3, 2, 0, 0), nil, "40030002 0000",
			found{tlvs: 1, malformed: true, dscp: 46}},
		{"follow-up", built(PutFollowUpTelemetry), nil, "00070010 00000001 5152535455565758 02000000", ok(1)},
		{"follow-up-first-packet", built(PutFollowUpTelemetry), func(a *Arrival) { a.FollowUp = nil },
			"00070010 00000000 0000000000000000 00000000", ok(1)},
		{"follow-up-sender-fields-ignored", append(tlvRaw(FlagU, 7, 16), full(16)...), nil,
			"00070010 00000001 5152535455565758 02000000", ok(1)},
		{"follow-up-stateless", append(tlvRaw(FlagU, 7, 16), full(16)...), func(a *Arrival) { a.Stateless = true },
			"00070010 00000000 0000000000000000 00000000", ok(1)},
		{"follow-up-length-15", append(tlvRaw(FlagU, 7, 15), full(15)...), nil,
			"4007000f 000000000000000000000000 ffffff", found{tlvs: 1, malformed: true, dscp: 46}},
		{"follow-up-past-the-end", append(tlvRaw(FlagU, 7, 16), full(5)...), nil,
			"40070010 0000000000", found{tlvs: 1, malformed: true, dscp: 46}},
		{"access-report", tlvRaw(FlagU, 6, 4, 0x10, 1, 0, 0), nil, "00060004 10010000", ok(1)},
		{"access-report-reserved-zeroed", tlvRaw(FlagU, 6, 4, 0x2f, 2, 9, 9), nil, "00060004 20020000", ok(1)},
		{"access-report-invalid-id", tlvRaw(FlagU, 6, 4, 0x30, 1, 0, 0), nil, "80060004 30010000",
			found{tlvs: 1, unknown: true, dscp: 46}},
		{"unknown-type", tlvRaw(FlagU, 9, 2, 1, 2), nil, "80090002 0102", found{tlvs: 1, unknown: true, dscp: 46}},
		{"unknown-type-u-clear", tlvRaw(0, 200, 2, 1, 2), nil, "80c80002 0102", found{tlvs: 1, unknown: true, dscp: 46}},
		{"reserved-type-0", tlvRaw(FlagU, 0, 1, 5), nil, "80000001 05", found{tlvs: 1, unknown: true, dscp: 46}},
		{"private-use", tlvRaw(FlagU, 252, 4, 0, 0, 0x7f, 1), nil, "80fc0004 00007f01", found{tlvs: 1, unknown: true, dscp: 46}},
		{"unknown-then-known", append(tlvRaw(FlagU, 9, 0), tlvDM(9)...), nil,
			"80090000 0005000c 00000009 00000005 00000003", found{tlvs: 2, unknown: true, dscp: 46}},
		{"received-flags-ignored", tlvRaw(0x7f, 1, 0), nil, "00010000", ok(1)},
		{"all-flags-on-unknown", tlvRaw(0xff, 99, 0), nil, "80630000", found{tlvs: 1, unknown: true, dscp: 46}},
		{"malformed-stops", append(tlvRaw(FlagU, 4, 3, 1, 2, 3), tlvDM(9)...), nil,
			"40040003 010203 8005000c 00000009 00000000 00000000",
			found{tlvs: 1, malformed: true, trailing: 16, dscp: 46}},
		{"known-before-malformed", append(tlvDM(9), tlvRaw(FlagU, 4, 9, 1, 2, 3)...), nil,
			"0005000c 00000009 00000005 00000003 40040009 010203", found{tlvs: 2, malformed: true, dscp: 46}},
		{"unknown-past-the-end", tlvRaw(FlagU, 99, 9, 1), nil, "c0630009 01", found{tlvs: 1, malformed: true, dscp: 46}},
		{"then-zeroes", append(tlvDM(9), make([]byte, 6)...), nil,
			"0005000c 00000009 00000005 00000003 000000000000", found{tlvs: 1, trailing: 6, dscp: 46}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := arrival()
			if c.setup != nil {
				c.setup(a)
			}
			b := request(c.tlvs)
			r := reflected(t, b, a, nil)
			require.Equal(t, unhex(t, c.want), b[BaseLen:])
			require.Equal(t, c.found, found{r.TLVs, r.Unknown, r.Malformed, r.DSCPDenied, r.Trailing, r.DSCP})
			require.False(t, r.Integrity)
		})
	}
}

// The HMAC TLV: which TLVs are used, which are only copied, and with what.
func TestReflectIntegrity(t *testing.T) {
	const used, failed = true, false
	dm := tlvDM(9)
	mac := func(m Mode, tlvs ...[]byte) []byte { // a request with an HMAC TLV
		if m == Authenticated {
			return authRequest(t, true, tlvs...)
		}
		return signedTLVs(t, request(tlvs...), BaseLen)
	}
	flip := func(b []byte, i int) []byte { b[i] ^= 1; return b }
	for _, m := range []Mode{Unauthenticated, Authenticated} {
		base := m.BaseLen()
		plain := func(tlvs ...[]byte) []byte {
			if m == Authenticated {
				return authRequest(t, false, tlvs...)
			}
			return request(tlvs...)
		}
		for _, c := range []struct {
			name string
			b    []byte
			want bool
		}{
			{"valid", mac(m, dm), used},
			{"valid-only-hmac", mac(m), used},
			{"valid-padding-before", mac(m, tlvPad(20), dm), used},
			{"valid-padding-after", append(mac(m, dm), tlvPad(20)...), used},
			{"value-changed", flip(mac(m, dm), base+7), failed},
			{"flag-changed", flip(mac(m, dm), base), failed},
			{"hmac-changed", flip(mac(m, dm), base+16+19), failed},
			{"tlv-after-hmac", append(mac(m, dm), tlvCoS(1)...), failed},
			{"second-hmac", signedTLVs(t, mac(m, dm), base), failed},
			{"hmac-first", append(mac(m), dm...), failed},
			{"hmac-length-15", append(plain(dm), tlvRaw(FlagU, 8, 15, make([]byte, 15)...)...), failed},
			{"hmac-past-the-end", mac(m, dm)[:base+16+19], failed},
			{"no-hmac", plain(dm), failed},
			{"no-hmac-one-padding", plain(tlvPad(30)), used},
			{"no-hmac-two-paddings", plain(tlvPad(30), tlvPad(30)), failed},
			{"no-tlv", plain(), used},
		} {
			t.Run(m.String()+"/"+c.name, func(t *testing.T) {
				a := arrival()
				a.Mode = m
				auth := newAuth(t)
				b, req := c.b, clone(c.b)
				r := reflected(t, b, a, auth)
				require.Equal(t, c.want == failed, r.Integrity)
				if m == Authenticated {
					require.Equal(t, independentHMAC(b[:96]), b[96:112])
				}
				checkIntegrityReply(t, b, req, base, c.want)
			})
		}
	}
}

// checkIntegrityReply: a failed reply is the request's TLVs with I on each;
// a good one is signed anew, over the reply's own Sequence Number.
func checkIntegrityReply(t *testing.T, b, req []byte, base int, used bool) {
	t.Helper()
	macs := 0
	for it, rq := NewTLVs(b, base), NewTLVs(req, base); it.Next() && rq.Next(); {
		if !used {
			require.NotZero(t, it.Flags&FlagI, "I on every TLV")
			require.Equal(t, rq.Value, it.Value, "copied")
			continue
		}
		require.Zero(t, it.Flags)
		if it.Type == TypeHMAC {
			macs++
			require.Equal(t, independentHMAC(b[:4], b[base:it.Offset]), it.Value)
		}
		if it.Type == TypeDirectMeasurement {
			require.Equal(t, unhex(t, "00000009 00000005 00000003"), it.Value)
		}
	}
	require.LessOrEqual(t, macs, 1)
}

// Without a key an HMAC TLV cannot be verified, so no TLV may be used.
func TestReflectHMACWithoutKey(t *testing.T) {
	b := signedTLVs(t, request(tlvDM(9), tlvRaw(FlagU, 77, 0)), BaseLen)
	want := clone(b[BaseLen:])
	r := reflected(t, b, arrival(), nil)
	require.True(t, r.Integrity)
	require.Equal(t, 3, r.TLVs)
	want[0], want[16], want[20] = FlagI, FlagI|FlagU, FlagI
	require.Equal(t, want, b[BaseLen:])
}

// A refused class leaves the HMAC right: it is made over what is sent.
func TestReflectSignsDeniedClass(t *testing.T) {
	a := arrival()
	a.AllowDSCP = 0
	b := signedTLVs(t, request(tlvCoS(10)), BaseLen)
	r := reflected(t, b, a, newAuth(t))
	require.True(t, r.DSCPDenied)
	require.Equal(t, unhex(t, "00040004 2ae50000 00080010"), b[BaseLen:BaseLen+12])
	require.Equal(t, independentHMAC(b[:4], b[BaseLen:BaseLen+8]), b[BaseLen+12:])
}

func TestReflectBeyondMaxTLVsIsCopied(t *testing.T) {
	var tail []byte
	for range MaxTLVs {
		tail = append(tail, tlvRaw(FlagU, TypeExtraPadding, 0)...)
	}
	b := request(tail, tlvDM(9))
	r := reflected(t, b, arrival(), nil)
	require.Equal(t, MaxTLVs, r.TLVs)
	require.Equal(t, DirectMeasurementLen, r.Trailing)
	require.Equal(t, tlvDM(9), b[BaseLen+len(tail):], "its U flag says that it was not understood")
}

func TestDSCPSet(t *testing.T) {
	s := DSCPSet(1<<46 | 1)
	for d := range uint8(64) {
		require.Equal(t, d == 46 || d == 0, s.Has(d))
		require.True(t, AllDSCP.Has(d))
	}
}
