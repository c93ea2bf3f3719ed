package lab

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	prober    = netip.MustParseAddrPort("10.77.1.2:20000")
	responder = netip.MustParseAddrPort("10.77.2.2:862")
)

// probeOut and probeIn build the two records of a probe in the open layout, with the stamps given raw.
func probeOut(at int64, sequence uint32, ssid uint16) Record {
	b := make([]byte, 44)
	binary.BigEndian.PutUint32(b, sequence)
	binary.BigEndian.PutUint16(b[14:], ssid)
	return Record{Time: at, Direction: FromHost, Src: prober, Dst: responder, Head: b}
}

func probeIn(at int64, sequence uint32, ssid, estimate uint16, t2, t3 uint64) Record {
	b := make([]byte, 44)
	binary.BigEndian.PutUint32(b, 1000+sequence) // a stateful reflector counts for itself
	binary.BigEndian.PutUint64(b[4:], t3)
	binary.BigEndian.PutUint16(b[12:], estimate)
	binary.BigEndian.PutUint16(b[14:], ssid)
	binary.BigEndian.PutUint64(b[16:], t2)
	binary.BigEndian.PutUint32(b[24:], sequence)
	return Record{Time: at, Direction: ToHost, Src: responder, Dst: prober, Head: b}
}

func TestTruthFormats(t *testing.T) {
	const ntpEstimate, ptpEstimate = 0x8001, 0xc001
	tests := map[string]struct {
		estimate  uint16
		t2, t3    uint64
		residence time.Duration
	}{
		"ntp-half-second":  {ntpEstimate, 5 << 32, 5<<32 + 1<<31, 500 * time.Millisecond},
		"ntp-two-seconds":  {ntpEstimate, 5<<32 + 1<<31, 7<<32 + 1<<31, 2 * time.Second},
		"ntp-era-end":      {ntpEstimate, 1<<64 - 1<<30, 1 << 30, 500 * time.Millisecond},
		"ntp-backwards":    {ntpEstimate, 5<<32 + 1<<31, 5 << 32, -500 * time.Millisecond},
		"ptp":              {ptpEstimate, 5<<32 | 999_999_000, 6<<32 | 1_000, 2 * time.Microsecond},
		"ptp-seconds-wrap": {ptpEstimate, 0xffffffff<<32 | 999_999_999, 9, 10 * time.Nanosecond},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			const total = int64(3 * time.Second)
			truth := RTTTruth([]Record{probeOut(100, 7, 1), probeIn(100+total, 7, 1, c.estimate, c.t2, c.t3)}, TruthOptions{})
			require.Len(t, truth.RTTs, 1)
			require.Equal(t, c.residence, truth.RTTs[0].Residence)
			require.Equal(t, time.Duration(total)-c.residence, truth.RTTs[0].Network)
		})
	}
}

func TestTruthCounts(t *testing.T) {
	foreign := probeIn(30, 1, 1, 0, 0, 0)
	foreign.Src = netip.MustParseAddrPort("10.77.3.2:862")
	otherWay := probeOut(5, 8, 1) // a request to the prober's own reflector
	otherWay.Direction = ToHost
	truth := RTTTruth([]Record{
		probeOut(10, 1, 1), probeOut(11, 2, 1), probeOut(12, 1, 2), probeOut(13, 3, 1), probeOut(14, 3, 1), otherWay,
		probeIn(20, 1, 2, 0, 0, 0), probeIn(21, 1, 1, 0, 0, 0), probeIn(22, 1, 1, 0, 0, 0),
		probeIn(23, 3, 1, 0, 0, 0), probeIn(24, 9, 1, 0, 0, 0), foreign,
	}, TruthOptions{})
	require.Len(t, truth.RTTs, 2)
	require.Equal(t, [2]uint16{2, 1}, [2]uint16{truth.RTTs[0].SSID, truth.RTTs[1].SSID})
	require.Equal(t, [2]time.Duration{8, 11}, [2]time.Duration{truth.RTTs[0].Network, truth.RTTs[1].Network})
	truth.RTTs = nil
	require.Equal(t, Truth{Requests: 5, Replies: 6, Unanswered: 3, Duplicates: 1, Strays: 3}, truth)
}

func TestTruthAuthenticated(t *testing.T) {
	out, in := make([]byte, 112), make([]byte, 112)
	binary.BigEndian.PutUint32(out, 77)
	binary.BigEndian.PutUint16(out[26:], 5)
	binary.BigEndian.PutUint64(in[16:], 9<<32+1<<31)
	binary.BigEndian.PutUint16(in[26:], 5)
	binary.BigEndian.PutUint64(in[32:], 9<<32)
	binary.BigEndian.PutUint32(in[48:], 77)
	records := []Record{
		{Time: 0, Direction: FromHost, Src: prober, Dst: responder, Head: out},
		{Time: 600e6, Direction: ToHost, Src: responder, Dst: prober, Head: in},
	}
	truth := RTTTruth(records, TruthOptions{Authenticated: true})
	require.Len(t, truth.RTTs, 1)
	require.Equal(t, uint16(5), truth.RTTs[0].SSID)
	require.Equal(t, 100*time.Millisecond, truth.RTTs[0].Network)
	require.Empty(t, RTTTruth(records, TruthOptions{Authenticated: true, Port: 8620}).RTTs)
}

func TestParseRefuses(t *testing.T) {
	v4 := make([]byte, 14+20+8)
	v4[12], v4[13] = 8, 0
	v4[14], v4[14+9] = 0x45, 17
	binary.BigEndian.PutUint16(v4[14+20+4:], 8)
	_, payload, ok := parseUDP(v4)
	require.True(t, ok)
	require.Empty(t, payload)
	for name, c := range map[string]struct {
		offset int
		value  byte
	}{
		"arp": {13, 6}, "version 6 under IPv4": {14, 0x65}, "short header": {14, 0x44}, "options past the end": {14, 0x4f},
		"tcp": {14 + 9, 6}, "later fragment": {14 + 7, 1}, "udp length below its header": {14 + 25, 7},
	} {
		b := append([]byte(nil), v4...)
		b[c.offset] = c.value
		_, _, ok := parseUDP(b)
		require.False(t, ok, name)
	}
	for n := range v4 {
		_, _, ok := parseUDP(v4[:n])
		require.False(t, ok, "%d octets", n)
	}
}
