package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const testT3 Timestamp = 0x3132333435363738

// replyBaseHex is the reply to request() on arrival().
const replyBaseHex = `00000002 3132333435363738 0b31 4142 2122232425262728
	01020304 1112131415161718 8a21 0000 fd 000000`

const replyAuthHex = `00000002 000000000000000000000000 3132333435363738 0b31 4142 00000000
	2122232425262728 0000000000000000 01020304 000000000000000000000000
	1112131415161718 8a21 000000000000 fd 000000000000000000000000000000`

func reflected(t testing.TB, b []byte, a *Arrival, auth *Authenticator) Result {
	n := len(b)
	r, err := Reflect(b, a, auth)
	require.NoError(t, err)
	r.Finish(b, testT3, auth)
	require.Len(t, b, n)
	return r
}

func TestReflectBaseBytes(t *testing.T) {
	b := request()
	r := reflected(t, b, arrival(), nil)
	require.Equal(t, unhex(t, replyBaseHex), b)
	require.Equal(t, Result{Seq: 2, SSID: 0x4142, DSCP: 46, T3Offset: 4}, r)
}

func TestReflectT3IsLast(t *testing.T) {
	b := request()
	r, err := Reflect(b, arrival(), nil)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 8), b[4:12], "not before Finish")
	before := clone(b)
	r.Finish(b, testT3, nil)
	copy(before[r.T3Offset:], b[r.T3Offset:r.T3Offset+8])
	require.Equal(t, before, b, "Finish writes T3 and nothing else")
}

func TestReflectStatelessCopiesSequence(t *testing.T) {
	a := arrival()
	a.Stateless = true
	b := request()
	r := reflected(t, b, a, nil)
	require.Equal(t, uint32(0x01020304), r.Seq)
	require.Equal(t, unhex(t, "01020304"), b[:4])
	require.Equal(t, unhex(t, "01020304"), b[24:28])
}

func TestReflectStatefulCountsFromZero(t *testing.T) {
	a := arrival()
	for i := range uint32(3) {
		a.Rx, a.Tx = i+1, i+1
		b := request()
		require.Equal(t, i, reflected(t, b, a, nil).Seq)
		require.Equal(t, i, be.Uint32(b))
	}
	a.Tx = 0 // 2^32 replies later
	require.Equal(t, ^uint32(0), reflected(t, request(), a, nil).Seq)
}

func TestReflectTTLAndSSIDCopied(t *testing.T) {
	for _, ttl := range []uint8{0, 1, 64, 255} {
		a := arrival()
		a.TTL = ttl
		b := request()
		be.PutUint16(b[14:], uint16(ttl)<<8|7)
		r := reflected(t, b, a, nil)
		require.Equal(t, ttl, b[40])
		require.Equal(t, uint16(ttl)<<8|7, be.Uint16(b[14:]))
		require.Equal(t, uint16(ttl)<<8|7, r.SSID)
	}
}

// What the sender put in its MBZ octets never comes back.
func TestReflectMBZZeroed(t *testing.T) {
	b := request()
	copy(b[16:], full(28))
	reflected(t, b, arrival(), nil)
	require.Equal(t, unhex(t, replyBaseHex), b)

	auth := newAuth(t)
	b = full(AuthBaseLen)
	copy(b, unhex(t, "01020304"))
	copy(b[16:], unhex(t, "1112131415161718 8a21 4142"))
	auth.Sign(b)
	a := arrival()
	a.Mode = Authenticated
	reflected(t, b, a, auth)
	require.Equal(t, unhex(t, replyAuthHex), b[:96])
}

func TestReflectErrorEstimateNeverZeroMultiplier(t *testing.T) {
	a := arrival()
	a.ErrorEstimate = 0x4000
	b := request()
	reflected(t, b, a, nil)
	require.Equal(t, ErrorEstimate(0x4000|63<<8|255), ErrorEstimate(be.Uint16(b[12:])))
}

func TestReflectAuthBytes(t *testing.T) {
	auth := newAuth(t)
	a := arrival()
	a.Mode = Authenticated
	b := authRequest(t, false)
	r := reflected(t, b, a, auth)
	require.Equal(t, unhex(t, replyAuthHex), b[:96])
	require.Equal(t, independentHMAC(b[:96]), b[96:])
	require.Equal(t, Result{Mode: Authenticated, Seq: 2, SSID: 0x4142, DSCP: 46, T3Offset: 16, Sign: true}, r)
}

func TestReflectAuthRefusesForged(t *testing.T) {
	auth := newAuth(t)
	a := arrival()
	a.Mode = Authenticated
	for _, c := range []struct {
		name   string
		mutate func([]byte) []byte
		auth   *Authenticator
		want   error
	}{
		{"one-bit", func(b []byte) []byte { b[50] ^= 1; return b }, auth, ErrAuth},
		{"hmac-bit", func(b []byte) []byte { b[111] ^= 1; return b }, auth, ErrAuth},
		{"no-key", func(b []byte) []byte { return b }, nil, ErrAuth},
		{"short", func(b []byte) []byte { return b[:111] }, auth, ErrShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.mutate(authRequest(t, false))
			before := clone(b)
			_, err := Reflect(b, a, c.auth)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, before, b, "untouched on an error")
		})
	}
	a.Verified = true // the caller did it
	b := authRequest(t, false)
	b[50] ^= 1
	_, err := Reflect(b, a, auth)
	require.NoError(t, err)
}

func TestReflectShortRefused(t *testing.T) {
	for n := range BaseLen {
		b := request()[:n]
		before := clone(b)
		_, err := Reflect(b, arrival(), nil)
		require.ErrorIs(t, err, ErrShort, "%d octets", n)
		require.Equal(t, before, b)
	}
}

func TestReflectTWAMPLightTruncated(t *testing.T) {
	a := arrival()
	a.TWAMPLight = true
	for n := range BaseLen {
		b := append(request()[:n:n], 0xee)[:n]
		r, err := Reflect(b, a, nil)
		if n < MinLen {
			require.ErrorIs(t, err, ErrShort, "%d octets", n)
			continue
		}
		require.NoError(t, err)
		r.Finish(b, testT3, nil)
		require.Equal(t, unhex(t, replyBaseHex)[:n], b, "%d octets", n)
		require.Equal(t, byte(0xee), b[:n+1][n], "nothing beyond the request")
	}
	a.Mode = Authenticated
	_, err := Reflect(request(), a, newAuth(t))
	require.ErrorIs(t, err, ErrShort, "never in the authenticated mode")
}

// The padding of a TWAMP Light sender is no TLV: it comes back as it is.
func TestReflectCopiesWhatIsNoTLV(t *testing.T) {
	for _, c := range []struct {
		name     string
		tail     []byte
		trailing int
	}{
		{"one-octet", []byte{0xaa}, 1},
		{"three-octets", []byte{0x80, 4, 0}, 3},
		{"zeroes", make([]byte, 27), 27},
		{"zeroes-then-anything", append(make([]byte, 8), full(9)...), 17},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := request(c.tail)
			r := reflected(t, b, arrival(), nil)
			require.Equal(t, unhex(t, replyBaseHex), b[:BaseLen])
			require.Equal(t, c.tail, b[BaseLen:])
			require.Equal(t, c.trailing, r.Trailing)
			require.Zero(t, r.TLVs)
		})
	}
}

// A reply that is reflected once more keeps its length and answers the new
// sender: nothing of the first round is kept but the class wanted.
func TestReflectTwice(t *testing.T) {
	b := request(tlvCoS(10), tlvDM(4))
	reflected(t, b, arrival(), nil)
	require.True(t, LooksLikeReply(b))
	reflected(t, b, arrival(), nil)
	var p ReflectorPacket
	require.NoError(t, DecodeReflector(&p, b))
	require.Equal(t, uint32(2), p.SenderSeq)
	require.Equal(t, testT3, p.SenderTimestamp)
	require.Equal(t, unhex(t, "00040004 2ae40000 0005000c 00000004 00000005 00000003"), b[BaseLen:])
}
