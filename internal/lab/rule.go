//go:build linux

package lab

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Family is an IP version; the zero value means both.
type Family uint8

// The families that a Rule can be narrowed to.
const (
	Both Family = 0
	V4   Family = 4
	V6   Family = 6
)

// Rule chooses packets that the fabric forwards. Zero fields match everything. With both families,
// Ratio and Every run for each on its own.
type Rule struct {
	From, To    *Host  // the ports that a packet comes in and leaves by
	Family      Family // IP version
	DSCP        *uint8 // 0 to 63
	SrcPort     uint16 // UDP
	DstPort     uint16 // UDP
	LongerThan  int    // IP packets of more octets than this
	Ratio       float64
	Every       uint32 // every n-th matching packet: the n-th, 2n-th, …
	payloadByte *payloadByte
}

type payloadByte struct {
	offset uint32
	value  byte
}

// PayloadByte narrows the rule to UDP packets with this octet at this offset of their payload.
func (r Rule) PayloadByte(offset uint32, value byte) Rule {
	r.payloadByte = &payloadByte{offset, value}
	return r
}

// DSCP returns a pointer for Rule.DSCP.
func DSCP(v uint8) *uint8 { return &v }

// ratioScale is the modulus of the random number: Ratio is exact to one in a million.
const ratioScale = 1_000_000

func (r Rule) validate() error {
	switch {
	case r.Family != Both && r.Family != V4 && r.Family != V6:
		return fmt.Errorf("family %d, want 4 or 6", r.Family)
	case r.DSCP != nil && *r.DSCP > 63:
		return fmt.Errorf("dscp %d is above 63", *r.DSCP)
	case r.LongerThan < 0:
		return fmt.Errorf("length %d is negative", r.LongerThan)
	case r.Ratio < 0 || r.Ratio > 1 || r.Ratio > 0 && r.Ratio < 1.0/ratioScale:
		return fmt.Errorf("ratio %v is not in 1/%d to 1", r.Ratio, ratioScale)
	case r.Ratio > 0 && r.Every > 0:
		return fmt.Errorf("ratio and every exclude each other")
	}
	return nil
}

// families lists the nftables families that the rule needs.
func (r Rule) families() []nftables.TableFamily {
	switch r.Family {
	case V4:
		return []nftables.TableFamily{nftables.TableFamilyIPv4}
	case V6:
		return []nftables.TableFamily{nftables.TableFamilyIPv6}
	default:
		return []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}
	}
}

// match compiles the rule. The sampling comes last, so that only packets that match are counted by it.
func (r Rule) match(f *Fabric, family nftables.TableFamily) ([]expr.Any, error) {
	var out []expr.Any
	for _, end := range []struct {
		host *Host
		key  expr.MetaKey
	}{{r.From, expr.MetaKeyIIF}, {r.To, expr.MetaKeyOIF}} {
		if end.host == nil {
			continue
		}
		index, err := f.portIndex(end.host)
		if err != nil {
			return nil, err
		}
		out = append(out, &expr.Meta{Key: end.key, Register: 1}, equal(binaryutil.NativeEndian.PutUint32(uint32(index))))
	}
	if r.DSCP != nil {
		out = append(out, matchDSCP(family, *r.DSCP)...)
	}
	if r.LongerThan > 0 {
		out = append(out, &expr.Meta{Key: expr.MetaKeyLEN, Register: 1}, toBigEndian(),
			&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(r.LongerThan))})
	}
	out = append(out, r.matchUDP()...)
	return append(out, r.sample()...), nil
}

func (r Rule) matchUDP() []expr.Any {
	if r.SrcPort == 0 && r.DstPort == 0 && r.payloadByte == nil {
		return nil
	}
	out := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{unix.IPPROTO_UDP})}
	if r.SrcPort != 0 {
		out = append(out, load(expr.PayloadBaseTransportHeader, 0, 2), equal(binary.BigEndian.AppendUint16(nil, r.SrcPort)))
	}
	if r.DstPort != 0 {
		out = append(out, load(expr.PayloadBaseTransportHeader, 2, 2), equal(binary.BigEndian.AppendUint16(nil, r.DstPort)))
	}
	if b := r.payloadByte; b != nil {
		out = append(out, load(expr.PayloadBaseTransportHeader, 8+b.offset, 1), equal([]byte{b.value}))
	}
	return out
}

func (r Rule) sample() []expr.Any {
	switch {
	case r.Every > 1:
		return []expr.Any{
			&expr.Numgen{Register: 1, Modulus: r.Every, Type: unix.NFT_NG_INCREMENTAL},
			equal(binaryutil.NativeEndian.PutUint32(r.Every - 1)),
		}
	case r.Ratio > 0 && r.Ratio < 1:
		return []expr.Any{
			&expr.Numgen{Register: 1, Modulus: ratioScale, Type: unix.NFT_NG_RANDOM}, toBigEndian(),
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(r.Ratio * ratioScale))},
		}
	}
	return nil
}

// matchDSCP reads the six bits: in IPv4 the upper ones of octet 1, in IPv6 across octets 0 and 1
// (version 4, traffic class 8, flow label 4 bits).
func matchDSCP(family nftables.TableFamily, dscp uint8) []expr.Any {
	mask, value := dscpBits(family, dscp)
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, 0, 2),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: mask, Xor: []byte{0, 0}},
		equal(value),
	}
}

// writeDSCP sets the six bits and, in IPv4, mends the header checksum (octet 10).
func writeDSCP(family nftables.TableFamily, dscp uint8) []expr.Any {
	mask, value := dscpBits(family, dscp)
	write := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Len: 2}
	if family == nftables.TableFamilyIPv4 {
		write.CsumType, write.CsumOffset = expr.CsumTypeInet, 10
	}
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, 0, 2),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{^mask[0], ^mask[1]}, Xor: value},
		write,
	}
}

func dscpBits(family nftables.TableFamily, dscp uint8) (mask, value []byte) {
	shift := 2
	if family == nftables.TableFamilyIPv6 {
		shift = 6
	}
	return binary.BigEndian.AppendUint16(nil, 63<<shift), binary.BigEndian.AppendUint16(nil, uint16(dscp)<<shift)
}

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: base, Offset: offset, Len: length}
}

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// toBigEndian makes register 1 comparable by order: the kernel compares registers as octets.
func toBigEndian() expr.Any {
	return &expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4}
}
