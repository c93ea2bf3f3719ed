package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHMACBaseIndependent(t *testing.T) {
	b := make([]byte, AuthBaseLen+20)
	testSender.PutAuth(b)
	a := newAuth(t)
	for range 3 { // the state is reset each time
		a.Sign(b)
		require.Equal(t, independentHMAC(b[:96]), b[96:112])
		require.True(t, a.Verify(b))
		b[3]++
	}
	require.False(t, a.Verify(b[:111]))
}

// RFC 4231, test case 2, cut to 128 bits: a value from outside this tree.
func TestHMACKnownAnswer(t *testing.T) {
	a, err := NewAuthenticator([]byte("Jefe"))
	require.NoError(t, err)
	want := unhex(t, "5bdcc146bf60754e6a042426089575c7")
	require.Equal(t, want, a.digest([]byte("what do ya want "), []byte("for nothing?")))
}

func TestHMACRejectsEveryBit(t *testing.T) {
	a := newAuth(t)
	b := authRequest(t, false)
	for i := range 8 * AuthBaseLen {
		b[i/8] ^= 1 << (i % 8)
		require.False(t, a.Verify(b), "bit %d", i)
		b[i/8] ^= 1 << (i % 8)
	}
	require.True(t, a.Verify(b))
	other, err := NewAuthenticator([]byte("another key"))
	require.NoError(t, err)
	require.False(t, other.Verify(b))
}

func TestHMACTLVIndependent(t *testing.T) {
	a := newAuth(t)
	for _, base := range []int{BaseLen, AuthBaseLen} {
		b := make([]byte, base)
		testSender.Put(b)
		b = append(append(b, tlvCoS(46)...), tlvDM(9)...)
		at := len(b)
		b = signedTLVs(t, b, base)
		require.Equal(t, unhex(t, "80080010"), b[at:at+4])
		require.Equal(t, independentHMAC(b[:4], b[base:at]), b[at+4:])
		require.True(t, a.VerifyTLV(b, base, at))
		require.False(t, a.VerifyTLV(b[:len(b)-1], base, at))
		b[base] ^= 1
		require.False(t, a.VerifyTLV(b, base, at))
	}
}

func TestHMACPropertyVerifiesOnlyItsOwn(t *testing.T) {
	a := newAuth(t)
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), AuthBaseLen, AuthBaseLen).Draw(t, "b")
		a.Sign(b)
		require.Equal(t, independentHMAC(b[:96]), b[96:112])
		require.True(t, a.Verify(b))
		i := rapid.IntRange(0, 8*AuthBaseLen-1).Draw(t, "bit")
		b[i/8] ^= 1 << (i % 8)
		require.False(t, a.Verify(b))
	})
}

func TestHMACEmptyKeyRefused(t *testing.T) {
	_, err := NewAuthenticator(nil)
	require.EqualError(t, err, "hmac key is empty")
}
