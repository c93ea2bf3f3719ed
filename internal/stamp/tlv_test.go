package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTLVEncodersBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		put  func(b []byte) int
		want string
	}{
		{"cos", func(b []byte) int { return PutClassOfService(b, 46) }, "80040004 b8000000"},
		{"cos-dscp-63", func(b []byte) int { return PutClassOfService(b, 63) }, "80040004 fc000000"},
		{"direct-measurement", func(b []byte) int { return PutDirectMeasurement(b, 0x01020304) },
			"8005000c 01020304 00000000 00000000"},
		{"timestamp-information", PutTimestampInformation, "80030004 00000000"},
		{"follow-up", PutFollowUpTelemetry, "80070010 00000000 0000000000000000 00000000"},
		{"access-report", func(b []byte) int {
			return PutAccessReport(b, AccessReport{AccessNon3GPP, NetworkUnavailable})
		}, "80060004 20020000"},
		{"hmac-empty", PutHMAC, "80080010 00000000000000000000000000000000"},
		{"padding-zeroes", func(b []byte) int { return PutExtraPadding(b, 9, 0) }, "80010005 0000000000"},
		{"padding-empty", func(b []byte) int { return PutExtraPadding(b, 4, 1) }, "80010000"},
		{"location", func(b []byte) int { return PutLocation(b, false) },
			`8002002c 00000000 80040010 00000000000000000000000000000000
			80070010 00000000000000000000000000000000`},
		{"location-mac", func(b []byte) int { return PutLocation(b, true) },
			`80020038 00000000 80040010 00000000000000000000000000000000
			80070010 00000000000000000000000000000000 80010008 0000000000000000`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := full(128)
			want := unhex(t, c.want)
			require.Equal(t, len(want), c.put(b))
			require.Equal(t, want, b[:len(want)])
			require.Equal(t, full(128)[len(want):], b[len(want):], "nothing beyond it")
		})
	}
}

func TestTLVLengthConstants(t *testing.T) {
	b := make([]byte, 256)
	require.Equal(t, PutClassOfService(b, 0), ClassOfServiceLen)
	require.Equal(t, PutDirectMeasurement(b, 0), DirectMeasurementLen)
	require.Equal(t, PutTimestampInformation(b), TimestampInformationLen)
	require.Equal(t, PutFollowUpTelemetry(b), FollowUpTelemetryLen)
	require.Equal(t, PutAccessReport(b, AccessReport{}), AccessReportLen)
	require.Equal(t, PutHMAC(b), HMACLen)
	require.Equal(t, PutLocation(b, true), LocationLen)
}

// RFC 8972, 5: the code points are on the wire, so they are written out here.
func TestTLVCodePoints(t *testing.T) {
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8}, []int{TypeExtraPadding, TypeLocation,
		TypeTimestampInformation, TypeClassOfService, TypeDirectMeasurement, TypeAccessReport,
		TypeFollowUpTelemetry, TypeHMAC})
	require.Equal(t, []int{0x80, 0x40, 0x20}, []int{FlagU, FlagM, FlagI})
	require.Equal(t, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, []int{SubSourceMAC, SubSourceEUI48, SubSourceEUI64,
		SubDestIP, SubDestIPv4, SubDestIPv6, SubSourceIP, SubSourceIPv4, SubSourceIPv6})
	require.Equal(t, []int{1, 2, 3, 4, 5}, []int{SyncNTP, SyncPTP, SyncSSU, SyncGNSS, SyncLocal})
	require.Equal(t, []int{1, 2, 3}, []int{MethodHW, MethodSW, MethodControl})
	require.Equal(t, []int{1, 2, 1, 2}, []int{Access3GPP, AccessNon3GPP, NetworkAvailable, NetworkUnavailable})
}

func TestExtraPaddingIsPseudorandom(t *testing.T) {
	b := make([]byte, 4+4096)
	PutExtraPadding(b, len(b), 42)
	var seen [256]int
	for _, v := range b[4:] {
		seen[v]++
	}
	for v, n := range seen { // 16 expected, standard deviation 4
		require.Less(t, n, 45, "octet %d", v)
	}
	again, other := make([]byte, len(b)), make([]byte, len(b))
	PutExtraPadding(again, len(b), 42)
	PutExtraPadding(other, len(b), 43)
	require.Equal(t, b, again, "the same seed, the same octets")
	require.NotEqual(t, b, other)
}

type seenTLV struct {
	offset int
	flags  uint8
	typ    uint8
	value  int
	past   bool
}

func walk(b []byte, base int) (s []seenTLV, end int) {
	it := NewTLVs(b, base)
	for it.Next() {
		s = append(s, seenTLV{it.Offset, it.Flags, it.Type, len(it.Value), it.Past})
	}
	return s, it.End()
}

func TestTLVWalk(t *testing.T) {
	for _, c := range []struct {
		name string
		tail []byte
		want []seenTLV
		end  int
	}{
		{"none", nil, nil, 0},
		{"three-octets", []byte{0x80, 4, 0}, nil, 0},
		{"zeroes-are-padding", make([]byte, 40), nil, 0},
		{"reserved-type-with-flag", tlvRaw(FlagU, 0, 0), []seenTLV{{0, FlagU, 0, 0, false}}, 4},
		{"cos", tlvCoS(1), []seenTLV{{0, FlagU, 4, 4, false}}, 8},
		{"two", append(tlvCoS(1), tlvDM(1)...), []seenTLV{{0, FlagU, 4, 4, false}, {8, FlagU, 5, 12, false}}, 24},
		{"empty-values", append(tlvRaw(FlagU, 9, 0), tlvRaw(FlagU, 10, 0)...),
			[]seenTLV{{0, FlagU, 9, 0, false}, {4, FlagU, 10, 0, false}}, 8},
		{"one-past-the-end", tlvRaw(FlagU, 4, 5, 1, 2, 3, 4), []seenTLV{{0, FlagU, 4, 4, true}}, 8},
		{"far-past-the-end", tlvRaw(0xff, 255, 0xffff), []seenTLV{{0, 0xff, 255, 0, true}}, 4},
		{"then-zeroes", append(tlvCoS(1), make([]byte, 8)...), []seenTLV{{0, FlagU, 4, 4, false}}, 8},
		{"then-two-octets", append(tlvCoS(1), 1, 2), []seenTLV{{0, FlagU, 4, 4, false}}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, end := walk(c.tail, 0)
			require.Equal(t, c.want, s)
			require.Equal(t, c.end, end)
		})
	}
}

func TestTLVWalkIsBounded(t *testing.T) {
	var tail []byte
	for range MaxTLVs + 10 {
		tail = append(tail, tlvRaw(FlagU, 200, 0)...)
	}
	s, end := walk(request(tail), BaseLen)
	require.Len(t, s, MaxTLVs)
	require.Equal(t, BaseLen+4*MaxTLVs, end)
}

// A value cannot grow into its neighbour by append.
func TestTLVValueIsCapped(t *testing.T) {
	b := append(tlvCoS(1), tlvDM(7)...)
	it := NewTLVs(b, 0)
	require.True(t, it.Next())
	_ = append(it.Value, 0xff)
	require.Equal(t, append(tlvCoS(1), tlvDM(7)...), b)
}

func TestTLVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := ClassOfService{rapid.Uint8Max(63).Draw(t, "d1"), rapid.Uint8Max(63).Draw(t, "d2"),
			rapid.Uint8Max(3).Draw(t, "ecn"), rapid.Uint8Max(3).Draw(t, "rp")}
		f := FollowUp{rapid.Uint32().Draw(t, "seq"), Timestamp(rapid.Uint64().Draw(t, "ts")), rapid.Byte().Draw(t, "m")}
		i := TimestampInformation{f.Method, c.DSCP1, c.DSCP2, c.ECN}
		r := AccessReport{rapid.Uint8Max(15).Draw(t, "id"), rapid.Byte().Draw(t, "rc")}
		v := full(16)
		var c2 ClassOfService
		c.put(v)
		c2.decode(v)
		require.Equal(t, c, c2)
		require.Equal(t, []byte{0, 0}, v[2:4], "reserved")
		var f2 FollowUp
		f.put(v)
		f2.decode(v)
		require.Equal(t, f, f2)
		require.Equal(t, []byte{0, 0, 0}, v[13:16], "reserved")
		var i2 TimestampInformation
		i.put(v)
		i2.decode(v)
		require.Equal(t, i, i2)
		var r2 AccessReport
		r.put(v)
		r2.decode(v)
		require.Equal(t, r, r2)
		require.Equal(t, []byte{0, 0}, v[2:4], "reserved")
	})
}

func TestMayHaveMissesNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "packet")
		base := rapid.SampledFrom([]int{BaseLen, AuthBaseLen}).Draw(t, "base")
		for it := NewTLVs(b, base); it.Next(); {
			require.True(t, MayHave(b, base, it.Type))
		}
	})
	require.False(t, MayHave(make([]byte, BaseLen), BaseLen, TypeHMAC))
}
