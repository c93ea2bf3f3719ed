package stamp

import "encoding/binary"

var be = binary.BigEndian

// layout says where the fields of a base packet stand, in octets. Both modes
// have the same fields; the authenticated one spreads them over blocks of 16.
type layout struct {
	size                       int
	timestamp, estimate, ssid  int
	receive, senderSeq         int
	senderTimestamp, senderErr int
	senderTTL                  int
}

var layouts = [2]layout{
	Unauthenticated: {
		size: BaseLen, timestamp: 4, estimate: 12, ssid: 14,
		receive: 16, senderSeq: 24, senderTimestamp: 28, senderErr: 36, senderTTL: 40,
	},
	Authenticated: {
		size: AuthBaseLen, timestamp: 16, estimate: 24, ssid: 26,
		receive: 32, senderSeq: 48, senderTimestamp: 64, senderErr: 72, senderTTL: 80,
	},
}

func (m Mode) layout() *layout { return &layouts[m&1] }

// SenderPacket is the base packet of a Session-Sender (RFC 8762, 4.2; the
// SSID is RFC 8972, 3).
type SenderPacket struct {
	Seq           uint32
	Timestamp     Timestamp // T1
	ErrorEstimate ErrorEstimate
	SSID          uint16 // 0: none
}

// ReflectorPacket is the base packet of a Session-Reflector (RFC 8762, 4.3).
type ReflectorPacket struct {
	Seq                 uint32
	Timestamp           Timestamp // T3
	ErrorEstimate       ErrorEstimate
	SSID                uint16    // 0: none, or not supported there
	ReceiveTimestamp    Timestamp // T2
	SenderSeq           uint32
	SenderTimestamp     Timestamp // T1, echoed
	SenderErrorEstimate ErrorEstimate
	SenderTTL           uint8 // as the request arrived
}

// Put writes the 44 octets of the unauthenticated packet. b must hold them.
func (p *SenderPacket) Put(b []byte) { p.put(b, Unauthenticated) }

// PutAuth writes the 112 octets of the authenticated packet, its HMAC zeroed:
// Authenticator.Sign fills that in. b must hold them.
func (p *SenderPacket) PutAuth(b []byte) { p.put(b, Authenticated) }

func (p *SenderPacket) put(b []byte, m Mode) {
	l := m.layout()
	b = b[:l.size]
	clear(b)
	be.PutUint32(b, p.Seq)
	be.PutUint64(b[l.timestamp:], uint64(p.Timestamp))
	be.PutUint16(b[l.estimate:], uint16(p.ErrorEstimate))
	be.PutUint16(b[l.ssid:], p.SSID)
}

// Put writes the 44 octets of the unauthenticated packet. b must hold them.
func (p *ReflectorPacket) Put(b []byte) { p.put(b, Unauthenticated) }

// PutAuth writes the 112 octets of the authenticated packet, its HMAC zeroed.
func (p *ReflectorPacket) PutAuth(b []byte) { p.put(b, Authenticated) }

func (p *ReflectorPacket) put(b []byte, m Mode) {
	l := m.layout()
	b = b[:l.size]
	clear(b)
	be.PutUint32(b, p.Seq)
	be.PutUint64(b[l.timestamp:], uint64(p.Timestamp))
	be.PutUint16(b[l.estimate:], uint16(p.ErrorEstimate))
	be.PutUint16(b[l.ssid:], p.SSID)
	be.PutUint64(b[l.receive:], uint64(p.ReceiveTimestamp))
	be.PutUint32(b[l.senderSeq:], p.SenderSeq)
	be.PutUint64(b[l.senderTimestamp:], uint64(p.SenderTimestamp))
	be.PutUint16(b[l.senderErr:], uint16(p.SenderErrorEstimate))
	b[l.senderTTL] = p.SenderTTL
}

// DecodeSender reads an unauthenticated request. MBZ octets are ignored.
func DecodeSender(p *SenderPacket, b []byte) error { return p.decode(b, Unauthenticated) }

// DecodeSenderAuth reads an authenticated request; it does not verify it.
func DecodeSenderAuth(p *SenderPacket, b []byte) error { return p.decode(b, Authenticated) }

func (p *SenderPacket) decode(b []byte, m Mode) error {
	l := m.layout()
	if len(b) < l.size {
		return ErrShort
	}
	p.Seq = be.Uint32(b)
	p.Timestamp = Timestamp(be.Uint64(b[l.timestamp:]))
	p.ErrorEstimate = ErrorEstimate(be.Uint16(b[l.estimate:]))
	p.SSID = be.Uint16(b[l.ssid:])
	return nil
}

// DecodeReflector reads an unauthenticated reply. MBZ octets are ignored.
func DecodeReflector(p *ReflectorPacket, b []byte) error { return p.decode(b, Unauthenticated) }

// DecodeReflectorAuth reads an authenticated reply; it does not verify it.
func DecodeReflectorAuth(p *ReflectorPacket, b []byte) error { return p.decode(b, Authenticated) }

func (p *ReflectorPacket) decode(b []byte, m Mode) error {
	l := m.layout()
	if len(b) < l.size {
		return ErrShort
	}
	p.Seq = be.Uint32(b)
	p.Timestamp = Timestamp(be.Uint64(b[l.timestamp:]))
	p.ErrorEstimate = ErrorEstimate(be.Uint16(b[l.estimate:]))
	p.SSID = be.Uint16(b[l.ssid:])
	p.ReceiveTimestamp = Timestamp(be.Uint64(b[l.receive:]))
	p.SenderSeq = be.Uint32(b[l.senderSeq:])
	p.SenderTimestamp = Timestamp(be.Uint64(b[l.senderTimestamp:]))
	p.SenderErrorEstimate = ErrorEstimate(be.Uint16(b[l.senderErr:]))
	p.SenderTTL = b[l.senderTTL]
	return nil
}

// SSID reads the session identifier of a packet of either direction without
// decoding the rest; 0 if the packet is too short to have one.
func SSID(b []byte, m Mode) uint16 {
	if at := m.layout().ssid; len(b) >= at+2 {
		return be.Uint16(b[at:])
	}
	return 0
}

// LooksLikeReply tells whether b has the shape of a Session-Reflector's packet:
// a Receive Timestamp and a Session-Sender TTL where a request has zeroes, and
// zeroes around them. A reflector that answers such a packet may be half of an
// endless loop between two reflectors. Of what is shorter than MinLen it tells
// nothing: that must not be answered.
func LooksLikeReply(b []byte) bool {
	if len(b) < MinLen {
		return false
	}
	var end [4]byte // TTL, MBZ: as many as there are
	copy(end[:], b[40:])
	return be.Uint64(b[16:]) != 0 && // Receive Timestamp
		be.Uint16(b[38:]) == 0 && // MBZ
		be.Uint32(end[:])&0x00ffffff == 0 && end[0] != 0
}

// LooksLikeAuthReply is LooksLikeReply for the authenticated layout. A valid
// HMAC is no protection from a loop: both ends hold the same key.
func LooksLikeAuthReply(b []byte) bool {
	return len(b) >= AuthBaseLen && be.Uint64(b[32:]) != 0 && b[80] != 0
}
