package stamp

import "net/netip"

// Sub-TLV types of the Location TLV (RFC 8972, 5.3). The generic ones are
// what a sender asks with; a reflector turns each into the specific one.
const (
	SubSourceMAC   = 1
	SubSourceEUI48 = 2
	SubSourceEUI64 = 3
	SubDestIP      = 4
	SubDestIPv4    = 5
	SubDestIPv6    = 6
	SubSourceIP    = 7
	SubSourceIPv4  = 8
	SubSourceIPv6  = 9
)

// LocationFields says which fields of the Location TLV are reported: the
// policy control of RFC 8972, 4.2.2. The others are answered with zeroes.
type LocationFields uint8

// The fields.
const (
	ReportPorts LocationFields = 1 << iota
	ReportAddresses
	ReportMAC
)

// Location is where a request came from and which of it may be told.
type Location struct {
	Report  LocationFields
	Src     netip.AddrPort
	Dst     netip.AddrPort
	SrcMAC  [6]byte
	HaveMAC bool // sockets do not see the frame; XDP does
}

// LocationLen is the length of the Location TLV that PutLocation writes, the
// request for the MAC address included.
const LocationLen = TLVHeaderLen + 4 + 2*(TLVHeaderLen+16) + TLVHeaderLen + 8

// PutLocation writes TLV 2 as a request for addresses and ports, and with mac
// for the source MAC address. It returns its length.
func PutLocation(b []byte, mac bool) int {
	n := TLVHeaderLen + 4
	clear(b[:n])
	n += putSub(b[n:], SubDestIP, 16)
	n += putSub(b[n:], SubSourceIP, 16)
	if mac {
		n += putSub(b[n:], SubSourceMAC, 8)
	}
	PutHeader(b, TypeLocation, n-TLVHeaderLen)
	return n
}

func putSub(b []byte, typ uint8, n int) int {
	PutHeader(b, typ, n)
	clear(b[TLVHeaderLen : TLVHeaderLen+n])
	return TLVHeaderLen + n
}

// checkSubs looks for the first sub-TLV of v that is not well formed and
// marks it; nothing else is written, so that v stays a copy if it is.
func checkSubs(v []byte) bool {
	it := NewTLVs(v, 4)
	for it.Next() {
		if it.Past || !validSub(it.Type, len(it.Value)) {
			v[it.Offset] = FlagM
			return false
		}
	}
	return true
}

func validSub(typ uint8, n int) bool {
	switch {
	case typ >= SubSourceMAC && typ <= SubSourceEUI64:
		return n == 8
	case typ >= SubDestIP && typ <= SubSourceIPv6:
		return n == 16
	}
	return true
}

// answer fills the Value of a Location TLV in place (RFC 8972, 4.2.2). Every
// generic sub-TLV is as long as the specific one that takes its place.
func (l *Location) answer(v []byte) {
	clear(v[:4])
	if l.Report&ReportPorts != 0 {
		be.PutUint16(v, l.Dst.Port())
		be.PutUint16(v[2:], l.Src.Port())
	}
	it := NewTLVs(v, 4)
	for it.Next() {
		typ := it.Type
		switch typ {
		case SubSourceMAC:
			typ = l.answerMAC(it.Value)
		case SubDestIP:
			typ = l.answerIP(it.Value, l.Dst.Addr(), SubDestIPv4, SubDestIPv6)
		case SubSourceIP:
			typ = l.answerIP(it.Value, l.Src.Addr(), SubSourceIPv4, SubSourceIPv6)
		default:
			v[it.Offset] = FlagU
			continue
		}
		v[it.Offset], v[it.Offset+1] = 0, typ
	}
}

// answerMAC answers with EUI-48 if the address is known, and otherwise, as
// the RFC has it for a packet without one, with a zeroed EUI-64.
func (l *Location) answerMAC(v []byte) uint8 {
	clear(v)
	if !l.HaveMAC || l.Report&ReportMAC == 0 {
		return SubSourceEUI64
	}
	copy(v, l.SrcMAC[:])
	return SubSourceEUI48
}

func (l *Location) answerIP(v []byte, a netip.Addr, v4, v6 uint8) uint8 {
	clear(v)
	a = a.Unmap()
	typ := v6
	if a.Is4() {
		typ = v4
	}
	if l.Report&ReportAddresses == 0 || !a.IsValid() {
		return typ
	}
	if a.Is4() {
		x := a.As4()
		copy(v, x[:])
	} else {
		x := a.As16()
		copy(v, x[:])
	}
	return typ
}
