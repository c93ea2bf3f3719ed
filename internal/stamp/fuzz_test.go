package stamp

import (
	"bytes"
	"errors"
	"testing"
)

// Choices that one octet of the fuzzer's input makes.
const (
	optAuth = 1 << iota
	optKey
	optTWAMP
	optStateless
	optBare  // nothing known that TLVs ask for
	optValid // the packet is signed first, so that what follows it is reached
)

func FuzzReflect(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, opt byte) {
		// The packet ends in the middle of a buffer whose rest must stay.
		buf := append(append([]byte{}, data...), 0xa5, 0xa5, 0xa5, 0xa5)
		b := buf[:len(data)]
		a := arrival()
		a.TWAMPLight, a.Stateless = opt&optTWAMP != 0, opt&optStateless != 0
		a.AllowDSCP = DSCPSet(0x5555555555555555)
		if opt&optBare != 0 {
			a.FollowUp, a.Info, a.Location = nil, nil, nil
		}
		var auth *Authenticator
		if opt&(optAuth|optKey) != 0 {
			auth, _ = NewAuthenticator(testKey)
		}
		if opt&optAuth != 0 {
			a.Mode = Authenticated
			if opt&optValid != 0 && len(b) >= AuthBaseLen {
				auth.Sign(b)
			}
		}
		before := append([]byte{}, b...)
		r, err := Reflect(b, a, auth)
		if err != nil {
			if !errors.Is(err, ErrShort) && !errors.Is(err, ErrAuth) {
				t.Fatalf("unexpected error: %v", err)
			}
			if !bytes.Equal(before, b) {
				t.Fatal("changed on an error")
			}
			return
		}
		r.Finish(b, testT3, auth)
		checkReflected(t, before, b, a, &r, auth)
		if !bytes.Equal(buf[len(data):], []byte{0xa5, 0xa5, 0xa5, 0xa5}) {
			t.Fatal("wrote past the packet")
		}
		// A reply is a packet like any other: no loop of them may panic.
		if again, err := Reflect(b, a, auth); err == nil {
			again.Finish(b, testT3, auth)
		}
	})
}

// checkReflected: what holds for the reply to any octets whatever.
func checkReflected(t *testing.T, req, b []byte, a *Arrival, r *Result, auth *Authenticator) {
	base := a.Mode.BaseLen()
	if len(b) < base {
		return
	}
	var s SenderPacket
	var p ReflectorPacket
	if s.decode(req, a.Mode) != nil || p.decode(b, a.Mode) != nil {
		t.Fatal("does not decode")
	}
	if p.SenderSeq != s.Seq || p.SenderTimestamp != s.Timestamp || p.SenderErrorEstimate != s.ErrorEstimate ||
		p.SSID != s.SSID || p.Timestamp != testT3 || p.ReceiveTimestamp != a.Receive || p.SenderTTL != a.TTL {
		t.Fatalf("wrong reply %+v to %+v", p, s)
	}
	if a.Mode == Authenticated && !auth.Verify(b) {
		t.Fatal("reply does not verify")
	}
	it, rq := NewTLVs(b, base), NewTLVs(req, base)
	for n := 0; n < r.TLVs; n++ {
		// No answer turns a header into zeroes, which would end the walk early.
		if !rq.Next() || !it.Next() {
			t.Fatal("TLVs do not line up")
		}
		if it.Flags&^(FlagU|FlagM|FlagI) != 0 || it.Type != rq.Type || len(it.Value) != len(rq.Value) {
			t.Fatalf("TLV %d: %+v from %+v", n, it.TLV, rq.TLV)
		}
		if r.Integrity != (it.Flags&FlagI != 0) {
			t.Fatalf("TLV %d: I flag %#x, integrity %t", n, it.Flags, r.Integrity)
		}
	}
	if !bytes.Equal(req[len(req)-r.Trailing:], b[len(b)-r.Trailing:]) {
		t.Fatal("trailing octets are no copy")
	}
}

func FuzzDecodeReply(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, opt byte) {
		before := append([]byte{}, data...)
		var auth *Authenticator
		if opt&(optAuth|optKey) != 0 {
			auth, _ = NewAuthenticator(testKey)
		}
		m := Unauthenticated
		if opt&optAuth != 0 {
			m = Authenticated
			if opt&optValid != 0 && len(data) >= AuthBaseLen {
				auth.Sign(data)
				copy(before, data)
			}
		}
		var r Reply
		err := DecodeReplyAuth(data, &r, m, auth)
		if !bytes.Equal(before, data) {
			t.Fatal("decoding changed the packet")
		}
		if err != nil {
			if r != (Reply{}) {
				t.Fatal("something of a refused packet was kept")
			}
			return
		}
		if r.TLVs > MaxTLVs || r.Integrity && r.Understood != 0 || r.Understood&^0x1fe != 0 {
			t.Fatalf("impossible findings: %+v", r)
		}
		if !r.Has(TypeDirectMeasurement) && r.DM != (DirectMeasurement{}) ||
			!r.Has(TypeClassOfService) && r.CoS != (ClassOfService{}) {
			t.Fatalf("a value that is not understood: %+v", r)
		}
		LooksLikeReply(data)
		LooksLikeAuthReply(data)
	})
}

func FuzzTLV(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, base uint16) {
		end := min(int(base), len(data))
		it := NewTLVs(data, end)
		for it.Next() {
			if it.Offset != end {
				t.Fatalf("TLV at %d, the one before it ends at %d", it.Offset, end)
			}
			want := int(be.Uint16(data[it.Offset+2:]))
			if it.Past != (it.Offset+TLVHeaderLen+want > len(data)) || !it.Past && len(it.Value) != want {
				t.Fatalf("length %d: %+v", want, it.TLV)
			}
			end += TLVHeaderLen + len(it.Value)
			if it.End() != end || end > len(data) {
				t.Fatalf("ends at %d of %d, want %d", it.End(), len(data), end)
			}
		}
		if it.Count() > MaxTLVs {
			t.Fatal("not bounded")
		}
		checkSubs(append([]byte{0, 0, 0, 0}, data...))
	})
}
