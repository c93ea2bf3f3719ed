package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func newTemplate(t testing.TB, o ProbeOptions) *Template {
	tm, err := NewTemplate(o)
	require.NoError(t, err)
	return tm
}

func TestTemplateDefaultProbeBytes(t *testing.T) {
	tm := newTemplate(t, ProbeOptions{SSID: 0x4142, ErrorEstimate: 0x8a21, DSCP1: 46})
	require.Equal(t, 68, tm.Len())
	b := full(69)
	require.Equal(t, 68, tm.Put(b, 0x01020304, 0x1112131415161718, 0x05060708))
	require.Equal(t, unhex(t, senderHex+`80040004 b8000000 8005000c 05060708 00000000 00000000 ff`), b)
}

func TestTemplateAuthProbeBytes(t *testing.T) {
	auth := newAuth(t)
	tm := newTemplate(t, ProbeOptions{Mode: Authenticated, SSID: 0x4142, ErrorEstimate: 0x8a21, Auth: auth})
	require.Equal(t, 112+24+20, tm.Len())
	b := full(tm.Len())
	tm.Put(b, 0x01020304, 0x1112131415161718, 5)
	require.Equal(t, unhex(t, senderAuthHex)[:96], b[:96])
	require.Equal(t, independentHMAC(b[:96]), b[96:112])
	require.Equal(t, unhex(t, "80040004 00000000 8005000c 00000005 00000000 00000000 80080010"), b[112:140])
	require.Equal(t, independentHMAC(b[:4], b[112:136]), b[140:])
}

func TestTemplateSizes(t *testing.T) {
	for _, c := range []struct {
		name string
		o    ProbeOptions
		want int // 0: refused
	}{
		{"exact", ProbeOptions{Size: 68}, 68},
		{"padding-header-only", ProbeOptions{Size: 72}, 72},
		{"jumbo", ProbeOptions{Size: 8972, PaddingSeed: 3}, 8972},
		{"largest", ProbeOptions{Size: MaxSize}, MaxSize},
		{"too-large", ProbeOptions{Size: MaxSize + 1}, 0},
		{"negative", ProbeOptions{Size: -1}, 0},
		{"too-small", ProbeOptions{Size: 67}, 0},
		{"no-room-for-a-header", ProbeOptions{Size: 71}, 0},
		{"no-tlv", ProbeOptions{NoTLV: true}, 44},
		{"no-tlv-one-octet", ProbeOptions{NoTLV: true, Size: 45}, 45},
		{"no-tlv-too-small", ProbeOptions{NoTLV: true, Size: 43}, 0},
		{"everything", ProbeOptions{TimestampInformation: true, FollowUp: true, Location: true, Size: 400}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			tm, err := NewTemplate(c.o)
			if c.want == 0 {
				require.ErrorIs(t, err, ErrSize)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, tm.Len())
			b := make([]byte, c.want)
			tm.Put(b, 1, 2, 3)
			for it := NewTLVs(b, BaseLen); it.Next(); {
				require.False(t, it.Past)
				require.Equal(t, uint8(FlagU), it.Flags, "U set, M and I clear")
			}
			if c.o.NoTLV {
				require.Equal(t, make([]byte, c.want-BaseLen), b[BaseLen:])
			}
		})
	}
	_, err := NewTemplate(ProbeOptions{Mode: Authenticated})
	require.EqualError(t, err, "authenticated probe without a key")
}

func TestTemplateUpdateEqualsPut(t *testing.T) {
	auth := newAuth(t)
	rapid.Check(t, func(t *rapid.T) {
		o := ProbeOptions{Mode: Mode(rapid.IntRange(0, 1).Draw(t, "mode")), Auth: auth,
			Size: rapid.IntRange(300, 600).Draw(t, "size"), PaddingSeed: rapid.Uint64().Draw(t, "seed"),
			FollowUp: rapid.Bool().Draw(t, "fu"), TimestampInformation: rapid.Bool().Draw(t, "ti")}
		tm, err := NewTemplate(o)
		require.NoError(t, err)
		x, y := make([]byte, tm.Len()), make([]byte, tm.Len())
		tm.Put(x, 1, 2, 3)
		seq, t1, tx := rapid.Uint32().Draw(t, "seq"), rapid.Uint64().Draw(t, "t1"), rapid.Uint32().Draw(t, "tx")
		tm.Update(x, seq, Timestamp(t1), tx)
		tm.Put(y, seq, Timestamp(t1), tx)
		require.Equal(t, y, x)
	})
}

func TestTemplateSumIsThatOfTheProbe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		noTLV := rapid.Bool().Draw(t, "no TLVs")
		tm, err := NewTemplate(ProbeOptions{NoTLV: noTLV, SSID: rapid.Uint16().Draw(t, "ssid"), DSCP1: 46,
			Size: rapid.IntRange(300, 1500).Draw(t, "size"), PaddingSeed: rapid.Uint64().Draw(t, "seed")})
		require.NoError(t, err)
		tm.SetErrorEstimate(ErrorEstimate(rapid.Uint16Range(1, 0xffff).Draw(t, "estimate")))
		b := make([]byte, tm.Len())
		seq, t1, tx := rapid.Uint32().Draw(t, "seq"), Timestamp(rapid.Uint64().Draw(t, "t1")), rapid.Uint32().Draw(t, "tx")
		tm.Put(b, seq, t1, tx)
		require.Equal(t, onesSum(b), tm.Sum(seq, t1, tx))
	})
}

func TestTemplateErrorEstimate(t *testing.T) {
	tm := newTemplate(t, ProbeOptions{})
	b := make([]byte, tm.Len())
	tm.Put(b, 0, 1, 1)
	require.Equal(t, uint16(63<<8|255), be.Uint16(b[12:]), "unknown, never a multiplier of 0")
	tm.SetErrorEstimate(0x8a21)
	tm.Put(b, 0, 1, 1)
	require.Equal(t, uint16(0x8a21), be.Uint16(b[12:]))
}

// The whole round: template, reflection, decoding, in both modes and formats.
func TestProbeThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Mode(rapid.IntRange(0, 1).Draw(t, "mode"))
		f := Format(rapid.IntRange(0, 1).Draw(t, "format"))
		auth, err := NewAuthenticator(testKey)
		require.NoError(t, err)
		if m == Unauthenticated && rapid.Bool().Draw(t, "nokey") {
			auth = nil
		}
		o := ProbeOptions{Mode: m, Auth: auth, SSID: rapid.Uint16().Draw(t, "ssid"), DSCP1: rapid.Uint8Max(63).Draw(t, "dscp1"),
			ErrorEstimate:        NewErrorEstimate(true, f, 1000),
			TimestampInformation: true, FollowUp: true, Location: true, Size: rapid.IntRange(400, 1400).Draw(t, "size")}
		tm, err := NewTemplate(o)
		require.NoError(t, err)
		b := make([]byte, tm.Len())
		t1 := f.FromUnixNano(at("2026-01-01T00:00:00Z"))
		tm.Put(b, 77, t1, 78)

		a := arrival()
		a.Mode, a.AllowDSCP = m, DSCPSet(rapid.Uint64().Draw(t, "allow"))
		res, err := Reflect(b, a, auth)
		require.NoError(t, err)
		res.Finish(b, testT3, auth)
		require.Len(t, b, o.Size)

		var r Reply
		require.NoError(t, DecodeReplyAuth(b, &r, m, auth))
		require.Equal(t, ReflectorPacket{Seq: 2, Timestamp: testT3, ErrorEstimate: a.ErrorEstimate, SSID: o.SSID,
			ReceiveTimestamp: a.Receive, SenderSeq: 77, SenderTimestamp: t1, SenderErrorEstimate: o.ErrorEstimate,
			SenderTTL: 253}, r.ReflectorPacket)
		require.Equal(t, f, r.SenderErrorEstimate.Format())
		require.Equal(t, DirectMeasurement{78, 5, 3}, r.DM)
		require.Equal(t, *a.FollowUp, r.FollowUp)
		require.Equal(t, *a.Info, r.Info)
		want := ClassOfService{DSCP1: o.DSCP1, DSCP2: 46, ECN: 1}
		if !a.AllowDSCP.Has(o.DSCP1) {
			want.RP = 1
			require.Equal(t, uint8(46), res.DSCP)
		} else {
			require.Equal(t, o.DSCP1, res.DSCP)
		}
		require.Equal(t, want, r.CoS)
		require.False(t, r.Malformed || r.Integrity || r.Unrecognised || res.Unknown)
		for _, typ := range []uint8{1, 2, 3, 4, 5, 7} {
			require.True(t, r.Has(typ), "type %d", typ)
		}
		require.Equal(t, auth != nil, r.Has(TypeHMAC))
	})
}
