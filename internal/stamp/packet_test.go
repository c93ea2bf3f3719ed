package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const senderHex = `01020304 1112131415161718 8a21 4142
	00000000000000000000000000000000000000000000000000000000`

const senderAuthHex = `01020304 000000000000000000000000
	1112131415161718 8a21 4142 00000000
	00000000000000000000000000000000 00000000000000000000000000000000
	00000000000000000000000000000000 00000000000000000000000000000000
	00000000000000000000000000000000`

var testReflector = ReflectorPacket{
	Seq: 0x71727374, Timestamp: 0x3132333435363738, ErrorEstimate: 0x0b31, SSID: 0x4142,
	ReceiveTimestamp: 0x2122232425262728, SenderSeq: 0x01020304,
	SenderTimestamp: 0x1112131415161718, SenderErrorEstimate: 0x8a21, SenderTTL: 253,
}

const reflectorHex = `71727374 3132333435363738 0b31 4142 2122232425262728
	01020304 1112131415161718 8a21 0000 fd 000000`

const reflectorAuthHex = `71727374 000000000000000000000000
	3132333435363738 0b31 4142 00000000
	2122232425262728 0000000000000000
	01020304 000000000000000000000000
	1112131415161718 8a21 000000000000
	fd 000000000000000000000000000000
	00000000000000000000000000000000`

// full is a buffer of ones, so that what must be zeroed shows.
func full(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xff
	}
	return b
}

func TestSenderPacketBytes(t *testing.T) {
	b := full(BaseLen + 1)
	testSender.Put(b)
	require.Equal(t, append(unhex(t, senderHex), 0xff), b)
	var p SenderPacket
	require.NoError(t, DecodeSender(&p, b))
	require.Equal(t, testSender, p)
}

func TestSenderPacketAuthBytes(t *testing.T) {
	b := full(AuthBaseLen + 1)
	testSender.PutAuth(b)
	require.Equal(t, append(unhex(t, senderAuthHex), 0xff), b)
	var p SenderPacket
	require.NoError(t, DecodeSenderAuth(&p, b))
	require.Equal(t, testSender, p)
}

func TestReflectorPacketBytes(t *testing.T) {
	b := full(BaseLen + 1)
	testReflector.Put(b)
	require.Equal(t, append(unhex(t, reflectorHex), 0xff), b)
	var p ReflectorPacket
	require.NoError(t, DecodeReflector(&p, b))
	require.Equal(t, testReflector, p)
}

func TestReflectorPacketAuthBytes(t *testing.T) {
	b := full(AuthBaseLen + 1)
	testReflector.PutAuth(b)
	require.Equal(t, append(unhex(t, reflectorAuthHex), 0xff), b)
	var p ReflectorPacket
	require.NoError(t, DecodeReflectorAuth(&p, b))
	require.Equal(t, testReflector, p)
}

// Octets that must be zero are not looked at: every one of them is set.
func TestMBZIgnoredOnReceipt(t *testing.T) {
	var s SenderPacket
	var r ReflectorPacket
	for _, c := range []struct {
		name   string
		hex    string
		decode func([]byte) error
		got    any
		want   any
		fields [][2]int // first and last octet of each field
	}{
		{"sender", senderHex, func(b []byte) error { return DecodeSender(&s, b) }, &s, &testSender,
			[][2]int{{0, 15}}},
		{"sender-auth", senderAuthHex, func(b []byte) error { return DecodeSenderAuth(&s, b) }, &s, &testSender,
			[][2]int{{0, 3}, {16, 27}}},
		{"reflector", reflectorHex, func(b []byte) error { return DecodeReflector(&r, b) }, &r, &testReflector,
			[][2]int{{0, 37}, {40, 40}}},
		{"reflector-auth", reflectorAuthHex, func(b []byte) error { return DecodeReflectorAuth(&r, b) }, &r, &testReflector,
			[][2]int{{0, 3}, {16, 27}, {32, 39}, {48, 51}, {64, 73}, {80, 80}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.hex)
			noisy := full(len(b))
			for _, f := range c.fields {
				copy(noisy[f[0]:f[1]+1], b[f[0]:])
			}
			require.NoError(t, c.decode(noisy))
			require.Equal(t, c.want, c.got)
		})
	}
}

func TestDecodeShort(t *testing.T) {
	var s SenderPacket
	var r ReflectorPacket
	for n := range AuthBaseLen {
		b := make([]byte, n)
		if n < BaseLen {
			require.ErrorIs(t, DecodeSender(&s, b), ErrShort)
			require.ErrorIs(t, DecodeReflector(&r, b), ErrShort)
		}
		require.ErrorIs(t, DecodeSenderAuth(&s, b), ErrShort)
		require.ErrorIs(t, DecodeReflectorAuth(&r, b), ErrShort)
	}
}

func TestPacketRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := SenderPacket{rapid.Uint32().Draw(t, "seq"), Timestamp(rapid.Uint64().Draw(t, "t1")),
			ErrorEstimate(rapid.Uint16().Draw(t, "ee")), rapid.Uint16().Draw(t, "ssid")}
		r := ReflectorPacket{s.Seq + 1, s.Timestamp ^ 5, s.ErrorEstimate ^ 3, s.SSID,
			Timestamp(rapid.Uint64().Draw(t, "t2")), s.Seq, s.Timestamp, s.ErrorEstimate, rapid.Byte().Draw(t, "ttl")}
		for _, m := range []Mode{Unauthenticated, Authenticated} {
			b := full(m.BaseLen())
			var s2 SenderPacket
			s.put(b, m)
			require.NoError(t, s2.decode(b, m))
			require.Equal(t, s, s2)
			require.Equal(t, s.SSID, SSID(b, m))
			var r2 ReflectorPacket
			r.put(b, m)
			require.NoError(t, r2.decode(b, m))
			require.Equal(t, r, r2)
			require.Equal(t, r.SSID, SSID(b, m))
		}
	})
}

func TestSSIDOfShortPacketIsNone(t *testing.T) {
	b := full(AuthBaseLen)
	require.Zero(t, SSID(b[:15], Unauthenticated))
	require.Equal(t, uint16(0xffff), SSID(b[:16], Unauthenticated))
	require.Zero(t, SSID(b[:27], Authenticated))
	require.Equal(t, uint16(0xffff), SSID(b[:28], Authenticated))
}

func TestModeLengths(t *testing.T) {
	require.Equal(t, 44, Unauthenticated.BaseLen())
	require.Equal(t, 112, Authenticated.BaseLen())
	require.Equal(t, "unauthenticated", Unauthenticated.String())
	require.Equal(t, "authenticated", Authenticated.String())
	require.Equal(t, 862, Port)
}

func TestLooksLikeReply(t *testing.T) {
	set := func(i int, v byte) func([]byte) { return func(b []byte) { b[i] = v } }
	for _, c := range []struct {
		name   string
		mutate func([]byte)
		want   bool
	}{
		{"reply", func([]byte) {}, true},
		{"no-receive-timestamp", func(b []byte) { clear(b[16:24]) }, false},
		{"one-octet-of-it", func(b []byte) { clear(b[16:23]) }, true},
		{"no-ttl", set(40, 0), false},
		{"mbz-38", set(38, 1), false},
		{"mbz-39", set(39, 1), false},
		{"mbz-41", set(41, 1), false},
		{"mbz-43", set(43, 1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, reflectorHex)
			c.mutate(b)
			require.Equal(t, c.want, LooksLikeReply(b))
			require.False(t, LooksLikeReply(b[:MinLen-1]))
		})
	}
	for n := MinLen; n < BaseLen; n++ {
		require.True(t, LooksLikeReply(unhex(t, reflectorHex)[:n:n]), "%d octets", n)
		require.False(t, LooksLikeReply(unhex(t, senderHex)[:n:n]), "%d octets", n)
	}
	require.False(t, LooksLikeReply(unhex(t, senderHex)))
	require.False(t, LooksLikeReply(unhex(t, senderAuthHex)))
	require.False(t, LooksLikeAuthReply(unhex(t, senderAuthHex)))
	require.True(t, LooksLikeAuthReply(unhex(t, reflectorAuthHex)))
	require.False(t, LooksLikeAuthReply(unhex(t, reflectorAuthHex)[:AuthBaseLen-1]))
}
