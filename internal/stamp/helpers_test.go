package stamp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testKey = []byte("a key of the tests, no secret")

// unhex reads octets written as hex with any white space between.
func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

func newAuth(t testing.TB) *Authenticator {
	a, err := NewAuthenticator(testKey)
	require.NoError(t, err)
	return a
}

// independentHMAC is the truncated HMAC computed the plain way.
func independentHMAC(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, testKey)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)[:16]
}

var testSender = SenderPacket{
	Seq: 0x01020304, Timestamp: 0x1112131415161718, ErrorEstimate: 0x8a21, SSID: 0x4142,
}

// request is a valid unauthenticated request with these octets after it.
func request(tlvs ...[]byte) []byte {
	b := make([]byte, BaseLen)
	testSender.Put(b)
	for _, t := range tlvs {
		b = append(b, t...)
	}
	return b
}

// authRequest is a valid authenticated request; withMAC adds an HMAC TLV.
func authRequest(t testing.TB, withMAC bool, tlvs ...[]byte) []byte {
	b := make([]byte, AuthBaseLen)
	testSender.PutAuth(b)
	a := newAuth(t)
	a.Sign(b)
	for _, x := range tlvs {
		b = append(b, x...)
	}
	if withMAC {
		b = signedTLVs(t, b, AuthBaseLen)
	}
	return b
}

// signedTLVs appends an HMAC TLV.
func signedTLVs(t testing.TB, b []byte, base int) []byte {
	at := len(b)
	b = append(b, make([]byte, HMACLen)...)
	PutHMAC(b[at:])
	newAuth(t).SignTLV(b, base, at)
	return b
}

// built returns what one of the Put functions writes.
func built(put func(b []byte) int) []byte {
	b := make([]byte, 2048)
	return b[:put(b)]
}

func tlvCoS(dscp uint8) []byte {
	return built(func(b []byte) int { return PutClassOfService(b, dscp) })
}

func tlvDM(tx uint32) []byte {
	return built(func(b []byte) int { return PutDirectMeasurement(b, tx) })
}

func tlvPad(n int) []byte {
	return built(func(b []byte) int { return PutExtraPadding(b, n, 7) })
}

// tlvRaw is any TLV, its Length independent of its Value.
func tlvRaw(flags, typ uint8, length int, value ...byte) []byte {
	return append([]byte{flags, typ, byte(length >> 8), byte(length)}, value...)
}

// arrival is a stateful session's third request.
func arrival() *Arrival {
	return &Arrival{
		Receive: 0x2122232425262728, ErrorEstimate: 0x0b31, TTL: 253, DSCP: 46, ECN: 1,
		Rx: 5, Tx: 3, AllowDSCP: AllDSCP,
		FollowUp: &FollowUp{Seq: 1, Timestamp: 0x5152535455565758, Method: MethodSW},
		Info:     &TimestampInformation{SyncNTP, MethodSW, SyncNTP, MethodSW},
		Location: &Location{
			Report: ReportPorts | ReportAddresses | ReportMAC,
			Src:    netip.MustParseAddrPort("192.0.2.1:20000"),
			Dst:    netip.MustParseAddrPort("198.51.100.2:862"),
		},
	}
}

func clone(b []byte) []byte { return append([]byte{}, b...) }
