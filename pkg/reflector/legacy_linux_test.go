package reflector

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// legacyProbe is a llama.Probe as Dropbox's collectors send it, with its fields in their order.
func legacyProbe(tos byte) []byte {
	b := protowire.AppendTag(nil, legacySignature, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("0123456789"))
	b = protowire.AppendTag(b, legacyTOS, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte{tos})
	b = protowire.AppendTag(b, legacySent, protowire.VarintType)
	b = protowire.AppendVarint(b, 1_600_000_000_000_000_000)
	b = protowire.AppendTag(b, legacyPadding, protowire.BytesType)
	return protowire.AppendBytes(b, make([]byte, 1000))
}

func legacyFields(fields ...func([]byte) []byte) (b []byte) {
	for _, f := range fields {
		b = f(b)
	}
	return b
}

func bytesField(num protowire.Number, v ...byte) func([]byte) []byte {
	return func(b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
}

func varintField(num protowire.Number, v uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
	}
}

func octets(s string) func([]byte) []byte {
	return func(b []byte) []byte { return append(b, s...) }
}

// Any valid form is answered, and the hostile ones are refused, each for its reason.
func TestLegacyForms(t *testing.T) {
	require.Len(t, legacyProbe(0), 1028)
	tos := bytesField(legacyTOS, 0xb9)
	for name, c := range map[string]struct {
		b    []byte
		want Reason
	}{
		"as_collectors_send": {legacyProbe(0xb9), Replied},
		"tos_alone":          {legacyFields(tos), Replied},
		"another_order":      {legacyFields(bytesField(legacyPadding, 1, 2), varintField(legacyRTT, 5), tos, varintField(legacyLost, 1), bytesField(legacySignature)), Replied},
		"tos_twice":          {legacyFields(bytesField(legacyTOS, 1), tos), Replied},
		"tos_of_two_octets":  {legacyFields(bytesField(legacyTOS, 0xb9, 1)), Replied},
		"unknown_fields":     {legacyFields(varintField(8, 1), tos, bytesField(100, 1), octets("\x4d1234"), octets("\x5112345678"), octets("\x63\x08\x01\x64")), Replied},
		"long_varint":        {legacyFields(tos, octets("\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")), Replied},

		"empty":               {nil, Empty},
		"one_zero":            {[]byte{0}, LegacyMalformed},
		"no_tos":              {legacyFields(bytesField(legacySignature, 1)), LegacyNoToS},
		"empty_tos":           {legacyFields(bytesField(legacyTOS)), LegacyNoToS},
		"emptied_tos":         {legacyFields(tos, bytesField(legacyTOS)), LegacyNoToS},
		"tos_is_a_varint":     {legacyFields(varintField(legacyTOS, 0)), LegacyMalformed},
		"sent_is_bytes":       {legacyFields(tos, bytesField(legacySent, 1)), LegacyMalformed},
		"padding_past_end":    {legacyProbe(0)[:1027], LegacyMalformed},
		"length_past_end":     {legacyFields(tos, octets("\x3a\xff\xff\xff\xff\x0f")), LegacyMalformed},
		"negative_length":     {legacyFields(tos, octets("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), LegacyMalformed},
		"varint_without_end":  {legacyFields(tos, octets("\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80")), LegacyMalformed},
		"tag_without_end":     {legacyFields(tos, octets("\xff")), LegacyMalformed},
		"field_0":             {legacyFields(tos, octets("\x02\x00")), LegacyMalformed},
		"wire_type_7":         {legacyFields(tos, octets("\x4f")), LegacyMalformed},
		"end_of_no_group":     {legacyFields(tos, octets("\x64")), LegacyMalformed},
		"group_without_end":   {legacyFields(tos, octets("\x63")), LegacyMalformed},
		"groups_without_end":  {legacyFields(tos, octets(string(bytes.Repeat([]byte{0x63}, 60_000)))), LegacyMalformed},
		"python_LLAMA":        {append([]byte("__llama__\x00"), make([]byte, 26)...), LegacyMalformed},
		"stamp":               {probe(t, stamp.ProbeOptions{SSID: 1}, 5), LegacyMalformed},
		"http":                {[]byte("GET / HTTP/1.1\r\n\r\n"), LegacyMalformed},
		"65507_zeroes":        {make([]byte, 65507), LegacyMalformed},
		"65507_octets_of_tos": {legacyFields(bytesField(legacyTOS, bytes.Repeat([]byte{0xb9}, 65000)...)), Replied},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, Options{Policy: testPolicy()})
			e.legacy = true
			q := arrived(testPeer, bytes.Clone(c.b))
			var r reply
			require.Equal(t, c.want.String(), e.process(q, &r).String())
			require.Equal(t, c.b, q.b, "the octets stay as they came")
			want := ends(map[Reason]uint64{c.want: 1})
			if c.want == Replied {
				require.Equal(t, c.b, r.b)
				require.EqualValues(t, 0xb9, r.tos)
				e.sent(&r, 0)
				want.Legacy = 1
			}
			var got Stats
			e.count.addTo(&got)
			require.Equal(t, want.Map(), got.Map())
		})
	}
}

// Who is answered is who is answered otherwise, but no port of a reflector is excepted.
func TestLegacyGuards(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   Reason
		policy func(*Policy)
		change func(*request)
	}{
		{name: "valid", want: Replied},
		{name: "stranger", want: Replied, change: func(q *request) { q.src = testStranger }},
		{name: "not_allowed", want: NotAllowed, change: func(q *request) { from(q, "198.51.100.1") }},
		{name: "port_8100", want: PortReflector, change: func(q *request) { fromPort(q, 8100) }},
		{name: "port_configured", want: PortReflector, change: func(q *request) { fromPort(q, 8620) }},
		{name: "port_862", want: PortReflector, policy: func(p *Policy) { p.Allow862 = true }, change: func(q *request) { fromPort(q, 862) }},
		{name: "port_0", want: PortLow, change: func(q *request) { fromPort(q, 0) }},
		{name: "port_1023", want: PortLow, change: func(q *request) { fromPort(q, 1023) }},
		{name: "to_group", want: NotUnicast, change: func(q *request) { q.meta.Group = true }},
		{name: "from_multicast", want: NotUnicast, change: func(q *request) { from(q, "224.0.0.1") }},
		{name: "truncated", want: Truncated, change: func(q *request) { q.truncated = true }},
		{name: "key_by_prefix", want: AuthMissing, change: func(q *request) { from(q, "10.0.0.77") }},
		{name: "key_by_ssid", want: Replied, change: func(q *request) { q.b[14] = 4711 >> 8 }}, // which is the ToS here
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testPolicy()
			if c.policy != nil {
				c.policy(&p)
			}
			e := newTestEngine(t, Options{Policy: p})
			e.legacy = true
			q := arrived(testPeer, legacyProbe(0))
			if c.change != nil {
				c.change(q)
			}
			var r reply
			require.Equal(t, c.want.String(), e.process(q, &r).String())
		})
	}
}

func TestLegacyDeniedDSCP(t *testing.T) {
	p := testPolicy()
	p.DenyDSCP = 1 << 46
	e := newTestEngine(t, Options{Policy: p})
	e.legacy = true
	for tos, want := range map[byte]uint8{0xb8: 40, 0xbb: 40, 0x2b: 0x2b} {
		q := arrived(testPeer, legacyProbe(tos))
		q.meta.TOS = 41
		var r reply
		require.Equal(t, Replied, e.process(q, &r))
		require.Equal(t, want, r.tos)
	}
}

// A source's rate is one, on either port.
func TestLegacyRate(t *testing.T) {
	p := testPolicy()
	p.PeerRate = 1
	plain := newTestEngine(t, Options{Policy: p})
	legacy := newEngine(plain.shared, llamaPort, true)
	legacy.begin()
	var r reply
	for range 16 { // half of the burst
		require.Equal(t, Replied, plain.process(arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1}, 5)), &r))
		require.Equal(t, Replied, legacy.process(arrived(testPeer, legacyProbe(0)), &r))
	}
	require.Equal(t, RatePeer, plain.process(arrived(testPeer, probe(t, stamp.ProbeOptions{SSID: 1}, 5)), &r))
	require.Equal(t, RatePeer, legacy.process(arrived(testPeer, legacyProbe(0)), &r))
}

// Over sockets of both families: the same octets come back, marked as they asked for, from the address
// that was asked; hostile ones do not end it, and STAMP goes on beside it.
func TestLegacyOverSockets(t *testing.T) {
	for _, a := range []netip.Addr{loopback4, loopback6} {
		t.Run(a.String(), func(t *testing.T) {
			r := start(t, Options{Listen: []netip.AddrPort{anyPort(a)}, Legacy: []netip.AddrPort{netip.AddrPortFrom(a, 38100)}, Workers: 1,
				Policy: Policy{Allow: loopbacks}})
			require.Len(t, r.Addrs(), 2)
			legacy := netip.AddrPortFrom(a, 38100)
			c := dial(t, anyPort(a))
			for _, hostile := range [][]byte{{}, {0}, legacyFields(bytesField(legacySignature, 1)), make([]byte, 1028)} {
				c.send(legacy, hostile, 0, 64)
			}
			for _, tos := range []byte{0, 0xb8, 0x29, 0xff} {
				b := legacyProbe(tos)
				b[500] = tos
				c.send(legacy, b, 0, 64)
				got, from, m := c.recv()
				require.Equal(t, b, got)
				require.Equal(t, legacy, from)
				require.Equal(t, tos, m.TOS)
				require.EqualValues(t, 255, m.TTL)
			}
			c.exchange(r.Addrs()[0], probe(t, stamp.ProbeOptions{SSID: 1}, 1))
			c.silent()
			want := ends(map[Reason]uint64{Replied: 5, Empty: 1, LegacyMalformed: 2, LegacyNoToS: 1})
			want.Legacy, want.StrangerSessions = 4, 2
			eventually(t, r, want)
		})
	}
}

func TestLegacyOnAPortOfSTAMP(t *testing.T) {
	at := []netip.AddrPort{netip.AddrPortFrom(loopback4, 38100)}
	_, err := New(Options{Listen: at, Legacy: at}, discard)
	require.EqualError(t, err, "listen on udp 127.0.0.1:38100: either for STAMP's probes or for those of LLAMA")
}

// FuzzLegacyToS: whatever comes, an answer is one of three, and quick.
func FuzzLegacyToS(f *testing.F) {
	f.Add(legacyProbe(0xb8))
	f.Add(legacyProbe(0)[:600])
	f.Add(legacyFields(varintField(8, 1), bytesField(legacyTOS, 1), octets("\x63\x08\x01\x64")))
	f.Add(bytes.Repeat([]byte{0x63}, 1000))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		tos, why := legacyToS(b)
		require.Contains(t, []Reason{Replied, LegacyMalformed, LegacyNoToS}, why)
		require.True(t, why == Replied || tos == 0)
		require.Equal(t, before, b)
	})
}
