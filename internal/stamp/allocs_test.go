package stamp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoAllocations(t *testing.T) {
	auth := newAuth(t)
	for _, m := range []Mode{Unauthenticated, Authenticated} {
		for _, key := range []*Authenticator{nil, auth} {
			if key == nil && m == Authenticated {
				continue
			}
			tm := newTemplate(t, ProbeOptions{Mode: m, Auth: key, DSCP1: 10, Size: 600,
				TimestampInformation: true, FollowUp: true, Location: true})
			b := make([]byte, tm.Len())
			a := arrival()
			a.Mode = m
			var reply Reply
			seq := uint32(0)
			allocs := testing.AllocsPerRun(200, func() {
				seq++
				tm.Put(b, seq, NTP.FromUnixNano(int64(seq)*second), seq)
				r, err := Reflect(b, a, key)
				if err != nil {
					panic(err)
				}
				r.Finish(b, testT3, key)
				if err := DecodeReplyAuth(b, &reply, m, key); err != nil {
					panic(err)
				}
			})
			require.Zero(t, allocs, "%s, key %t", m, key != nil)
			require.Equal(t, seq, reply.DM.SenderTx)
		}
	}
	a := arrival()
	a.TWAMPLight = true
	b := request()[:MinLen]
	require.Zero(t, testing.AllocsPerRun(200, func() {
		r, err := Reflect(b, a, nil)
		if err != nil {
			panic(err)
		}
		r.Finish(b, testT3, nil)
	}), "twamp light")
}

func BenchmarkReflectDefaultProbe(b *testing.B) {
	p := request(tlvCoS(10), tlvDM(4))
	buf := make([]byte, len(p))
	a := arrival()
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, p)
		r, _ := Reflect(buf, a, nil)
		r.Finish(buf, testT3, nil)
	}
}

func BenchmarkReflectAuthenticated(b *testing.B) {
	p := authRequest(b, false)
	buf := make([]byte, len(p))
	a := arrival()
	a.Mode = Authenticated
	auth := newAuth(b)
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, p)
		r, _ := Reflect(buf, a, auth)
		r.Finish(buf, testT3, auth)
	}
}

func BenchmarkDecodeReply(b *testing.B) {
	p := request(tlvCoS(10), tlvDM(4))
	r, _ := Reflect(p, arrival(), nil)
	r.Finish(p, testT3, nil)
	var reply Reply
	b.ReportAllocs()
	for b.Loop() {
		_ = DecodeReply(p, &reply)
	}
}
