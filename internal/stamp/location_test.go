package stamp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReflectLocation(t *testing.T) {
	v6 := &Location{
		Report: ReportPorts | ReportAddresses | ReportMAC,
		Src:    netip.MustParseAddrPort("[2001:db8::1]:20001"),
		Dst:    netip.MustParseAddrPort("[2001:db8::2]:862"),
		SrcMAC: [6]byte{2, 3, 4, 5, 6, 7}, HaveMAC: true,
	}
	ask := func(mac bool) []byte { return built(func(b []byte) int { return PutLocation(b, mac) }) }
	mapped := *arrival().Location
	mapped.Src = netip.MustParseAddrPort("[::ffff:192.0.2.1]:20000")
	for _, c := range []struct {
		name      string
		tlv       []byte
		loc       *Location
		want      string
		malformed bool
		unknown   bool
	}{
		{"ipv4", ask(true), arrival().Location,
			`00020038 035e4e20 00050010 c6336402000000000000000000000000
			00080010 c0000201000000000000000000000000 00030008 0000000000000000`, false, false},
		{"ipv4-mapped", ask(false), &mapped,
			`0002002c 035e4e20 00050010 c6336402000000000000000000000000
			00080010 c0000201000000000000000000000000`, false, false},
		{"ipv6-and-mac", ask(true), v6,
			`00020038 035e4e21 00060010 20010db8000000000000000000000002
			00090010 20010db8000000000000000000000001 00020008 0203040506070000`, false, false},
		{"policy-nothing", ask(true), &Location{Src: v6.Src, Dst: v6.Dst, SrcMAC: v6.SrcMAC, HaveMAC: true},
			`00020038 00000000 00060010 00000000000000000000000000000000
			00090010 00000000000000000000000000000000 00030008 0000000000000000`, false, false},
		{"policy-ports-only", ask(false), &Location{Report: ReportPorts, Src: v6.Src, Dst: v6.Dst},
			`0002002c 035e4e21 00060010 00000000000000000000000000000000
			00090010 00000000000000000000000000000000`, false, false},
		{"not-answered", ask(false), nil,
			`8002002c 00000000 80040010 00000000000000000000000000000000
			80070010 00000000000000000000000000000000`, false, true},
		{"ports-alone", tlvRaw(FlagU, 2, 4, 0, 0, 0, 0), v6, "00020004 035e4e21", false, false},
		{"sender-values-overwritten", tlvRaw(FlagU, 2, 16, append(full(4), tlvRaw(FlagI, 1, 8, full(8)...)...)...), v6,
			"00020010 035e4e21 00020008 0203040506070000", false, false},
		{"unknown-sub-tlv", tlvRaw(FlagU, 2, 9, 0, 0, 0, 0, 0, 99, 0, 1, 5), v6,
			"00020009 035e4e21 80630001 05", false, false},
		{"specific-sub-tlv-is-no-question", tlvRaw(FlagU, 2, 16, append(make([]byte, 4), tlvRaw(FlagU, 2, 8, make([]byte, 8)...)...)...), v6,
			"00020010 035e4e21 80020008 0000000000000000", false, false},
		{"short", tlvRaw(FlagU, 2, 3, 0, 0, 0), v6, "40020003 000000", true, false},
		{"sub-tlv-wrong-length", tlvRaw(FlagU, 2, 12, 0, 0, 0, 0, FlagU, 4, 0, 4, 1, 2, 3, 4), v6,
			"4002000c 00000000 40040004 01020304", true, false},
		{"sub-tlv-past-the-end", tlvRaw(FlagU, 2, 10, 0, 0, 0, 0, FlagU, 1, 0, 8, 1, 2), v6,
			"4002000a 00000000 40010008 0102", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := arrival()
			a.Location = c.loc
			b := request(c.tlv)
			r := reflected(t, b, a, nil)
			require.Equal(t, unhex(t, c.want), b[BaseLen:])
			require.Equal(t, c.malformed, r.Malformed)
			require.Equal(t, c.unknown, r.Unknown)
		})
	}
}
