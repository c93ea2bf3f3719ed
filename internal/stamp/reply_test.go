package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// reply is a valid reply of 44 octets with these octets after it.
func reply(tlvs ...[]byte) []byte {
	b := make([]byte, BaseLen)
	testReflector.Put(b)
	for _, t := range tlvs {
		b = append(b, t...)
	}
	return b
}

func TestDecodeReplyFlags(t *testing.T) {
	dm := tlvRaw(0, 5, 12, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 3)
	cos := tlvRaw(0, 4, 4, 0x2a, 0xe5, 0, 0)
	withFlags := func(f uint8, b []byte) []byte { b = clone(b); b[0] = f; return b }
	dmValue := DirectMeasurement{9, 5, 3}
	cosValue := ClassOfService{DSCP1: 10, DSCP2: 46, ECN: 1, RP: 1}
	for _, c := range []struct {
		name string
		b    []byte
		want Reply
	}{
		{"base", reply(), Reply{}},
		{"zeroes", reply(make([]byte, 30)), Reply{}},
		{"understood", reply(cos, dm), Reply{TLVs: 2, Understood: 1<<4 | 1<<5, CoS: cosValue, DM: dmValue}},
		{"u-is-skipped", reply(withFlags(FlagU, cos), dm), Reply{TLVs: 2, Unrecognised: true, Understood: 1 << 5, DM: dmValue}},
		{"m-stops", reply(withFlags(FlagM, cos), dm), Reply{TLVs: 2, Malformed: true}},
		{"m-after-what-was-good", reply(cos, withFlags(FlagM, dm)), Reply{TLVs: 2, Malformed: true, Understood: 1 << 4, CoS: cosValue}},
		{"u-and-m-stops", reply(withFlags(FlagU|FlagM, cos), dm), Reply{TLVs: 2, Malformed: true}},
		{"i-voids-all", reply(cos, withFlags(FlagI, dm)), Reply{TLVs: 2, Integrity: true}},
		{"i-after-m-voids-all", reply(cos, withFlags(FlagM, cos), withFlags(FlagI, dm)), Reply{TLVs: 3, Integrity: true}},
		{"reserved-flags-ignored", reply(withFlags(0x1f, dm)), Reply{TLVs: 1, Understood: 1 << 5, DM: dmValue}},
		{"bad-length", reply(tlvRaw(0, 5, 8, 0, 0, 0, 9, 0, 0, 0, 5), cos), Reply{TLVs: 2, Malformed: true}},
		{"past-the-end", reply(cos, tlvRaw(0, 5, 12, 0, 0, 0, 9)), Reply{TLVs: 2, Malformed: true, Understood: 1 << 4, CoS: cosValue}},
		{"unknown-type", reply(tlvRaw(0, 99, 0), dm), Reply{TLVs: 2, Understood: 1 << 5, DM: dmValue}},
		{"first-of-two", reply(dm, tlvRaw(0, 5, 12, make([]byte, 12)...)), Reply{TLVs: 2, Understood: 1 << 5, DM: dmValue}},
		{"timestamp-information", reply(tlvRaw(0, 3, 4, 1, 2, 5, 3)),
			Reply{TLVs: 1, Understood: 1 << 3, Info: TimestampInformation{SyncNTP, MethodSW, SyncLocal, MethodControl}}},
		{"follow-up", reply(tlvRaw(0, 7, 16, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 2, 9, 9, 9)),
			Reply{TLVs: 1, Understood: 1 << 7, FollowUp: FollowUp{7, 0x0102030405060708, MethodSW}}},
		{"access-report", reply(tlvRaw(0, 6, 4, 0x2f, 1, 9, 9)),
			Reply{TLVs: 1, Understood: 1 << 6, Access: AccessReport{AccessNon3GPP, NetworkAvailable}}},
		{"access-report-invalid-id", reply(tlvRaw(0, 6, 4, 0x40, 1, 0, 0)), Reply{TLVs: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.ReflectorPacket = testReflector
			r := Reply{Malformed: true, DM: DirectMeasurement{1, 1, 1}} // of an earlier packet
			require.NoError(t, DecodeReply(c.b, &r))
			require.Equal(t, c.want, r)
		})
	}
}

func TestDecodeReplyShort(t *testing.T) {
	var r Reply
	require.ErrorIs(t, DecodeReply(make([]byte, 43), &r), ErrShort)
	require.ErrorIs(t, DecodeReplyAuth(make([]byte, 111), &r, Authenticated, newAuth(t)), ErrShort)
}

// The echo of our own probe has every U flag set: nothing of it is believed.
func TestDecodeReplyOfPlainEcho(t *testing.T) {
	var r Reply
	require.NoError(t, DecodeReply(request(tlvCoS(46), tlvDM(1)), &r))
	require.Zero(t, r.Understood)
	require.True(t, r.Unrecognised)
	require.False(t, r.Has(TypeDirectMeasurement))
}

func TestDecodeReplyAuth(t *testing.T) {
	for _, m := range []Mode{Unauthenticated, Authenticated} {
		good := func() []byte {
			auth := newAuth(t)
			a := arrival()
			a.Mode = m
			b := signedTLVs(t, request(tlvDM(9)), BaseLen)
			if m == Authenticated {
				b = authRequest(t, true, tlvDM(9))
			}
			reflected(t, b, a, auth)
			return b
		}
		base := m.BaseLen()
		for _, c := range []struct {
			name      string
			mutate    func([]byte) []byte
			integrity bool
		}{
			{"valid", func(b []byte) []byte { return b }, false},
			{"tlv-changed", func(b []byte) []byte { b[base+11] ^= 1; return b }, true},
			{"hmac-tlv-cut-off", func(b []byte) []byte { return b[:base+16] }, true},
			{"i-flag", func(b []byte) []byte { b[base] |= FlagI; return b }, true},
		} {
			t.Run(m.String()+"/"+c.name, func(t *testing.T) {
				b := c.mutate(good())
				var r Reply
				require.NoError(t, DecodeReplyAuth(b, &r, m, newAuth(t)))
				require.Equal(t, c.integrity, r.Integrity)
				require.Equal(t, !c.integrity, r.Has(TypeDirectMeasurement))
				require.Equal(t, uint32(2), r.Seq, "the base packet is read in any case")
			})
		}
	}
	b := authRequest(t, false)
	b[9] ^= 1
	var r Reply
	require.ErrorIs(t, DecodeReplyAuth(b, &r, Authenticated, newAuth(t)), ErrAuth)
	require.Equal(t, Reply{}, r, "nothing of a forged packet")
	require.ErrorIs(t, DecodeReplyAuth(authRequest(t, false), &r, Authenticated, nil), ErrAuth)
}
