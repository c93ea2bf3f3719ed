package reflector

import "google.golang.org/protobuf/encoding/protowire"

// Fields of llama.Probe (dropbox/llama, proto3), the probe of Dropbox's LLAMA.
const (
	legacySignature = 1 // bytes
	legacyTOS       = 2 // bytes
	legacySent      = 3 // uint64
	legacyRcvd      = 4 // uint64
	legacyRTT       = 5 // uint64
	legacyLost      = 6 // bool
	legacyPadding   = 7 // bytes
)

// legacyToS reads the ToS that the probe's reply is to have: the first octet of its
// field. Fields may come in any order, and others beside them.
func legacyToS(b []byte) (tos uint8, why Reason) {
	var asked []byte
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || !legacyField(num, typ) {
			return 0, LegacyMalformed
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return 0, LegacyMalformed
		}
		if num == legacyTOS {
			asked, _ = protowire.ConsumeBytes(b) // of several the last counts
		}
		b = b[n:]
	}
	if len(asked) == 0 {
		return 0, LegacyNoToS
	}
	return asked[0], Replied
}

// legacyField tells whether a field has the type that it has in llama.Probe, or is unknown.
func legacyField(num protowire.Number, typ protowire.Type) bool {
	switch num {
	case legacySignature, legacyTOS, legacyPadding:
		return typ == protowire.BytesType
	case legacySent, legacyRcvd, legacyRTT, legacyLost:
		return typ == protowire.VarintType
	}
	return true
}

// guardLegacy is guard for the probes of Dropbox's LLAMA. A reply is the same octets
// as its request: whoever gets one may return it, and only the source port tells that
// it would. So no port of a reflector is excepted.
func (c *policy) guardLegacy(q *request, v *verdict) Reason {
	if r := guardPacket(q); r != Replied {
		return r
	}
	switch port := q.src.Port(); {
	case c.reflectors.has(port):
		return PortReflector
	case port < firstUserPort:
		return PortLow
	case !v.allowed:
		return NotAllowed
	}
	for _, k := range v.keys {
		if k.ssid == 0 {
			return AuthMissing // there is no room for an HMAC, nor for an SSID that some keys are for
		}
	}
	return Replied
}

// answerLegacy leaves the probe as it is, and admits it as a probe of STAMP.
func (e *engine) answerLegacy(q *request, r *reply, v *verdict) Reason {
	tos, why := legacyToS(q.b)
	if why != Replied {
		return why
	}
	e.key.set(q.src, q.meta.Local, 0, q.meta.IfIndex)
	s, why := e.admit(q, v)
	if why != Replied {
		return why
	}
	if !e.policy.allowDSCP.Has(tos >> 2) {
		tos = q.meta.TOS &^ 3
	}
	*r = reply{b: q.b, asIs: true, tos: tos, session: s}
	if s != nil {
		r.gen = s.gen
	}
	return Replied
}
