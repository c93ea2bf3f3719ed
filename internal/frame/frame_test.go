package frame

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var (
	near = MAC{2, 0, 0, 0, 0, 1}
	far  = MAC{2, 0, 0, 0, 0, 2}
)

func path(src, dst string, port uint16, tos uint8) *Path {
	return &Path{SrcMAC: near, DstMAC: far, Src: netip.MustParseAddr(src), Dst: netip.AddrPortFrom(netip.MustParseAddr(dst), port), TOS: tos}
}

// build makes a whole frame.
func build(p *Path, sourcePort uint16, payload []byte) []byte {
	h := NewHeader(p)
	b := make([]byte, h.Len()+len(payload))
	h.Put(b, sourcePort, len(payload), sum(payload))
	copy(b[h.Len():], payload)
	return b
}

// serialized is the same frame by another hand; the flow label is taken over.
func serialized(t require.TestingT, p *Path, sourcePort uint16, payload []byte, label uint32) []byte {
	eth := &layers.Ethernet{SrcMAC: p.SrcMAC[:], DstMAC: p.DstMAC[:], EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(sourcePort), DstPort: layers.UDPPort(p.Dst.Port())}
	var ip gopacket.SerializableLayer
	if p.Src.Is4() {
		v4 := &layers.IPv4{Version: 4, TOS: p.TOS, Flags: layers.IPv4DontFragment, TTL: 255, Protocol: layers.IPProtocolUDP, SrcIP: p.Src.AsSlice(), DstIP: p.Dst.Addr().AsSlice()}
		require.NoError(t, udp.SetNetworkLayerForChecksum(v4))
		ip = v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, TrafficClass: p.TOS, FlowLabel: label, NextHeader: layers.IPProtocolUDP, HopLimit: 255, SrcIP: p.Src.AsSlice(), DstIP: p.Dst.Addr().AsSlice()}
		require.NoError(t, udp.SetNetworkLayerForChecksum(v6))
		ip = v6
	}
	out := gopacket.NewSerializeBuffer()
	o := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	require.NoError(t, gopacket.SerializeLayers(out, o, eth, ip, udp, gopacket.Payload(payload)))
	length := EthernetLen + ipv6Len + udpLen + len(payload)
	if p.Src.Is4() {
		length += ipv4Len - ipv6Len
	}
	return out.Bytes()[:length] // it pads short frames, which is the device's business
}

// labelOf reads the flow label as another decoder sees it; 0 over IPv4.
func labelOf(b []byte) uint32 {
	if v6, ok := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default).NetworkLayer().(*layers.IPv6); ok {
		return v6.FlowLabel
	}
	return 0
}

func TestFrameEqualsGopacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		octets := func(name string, n int) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name) }
		n := 4
		if rapid.Bool().Draw(t, "six") {
			n = 16
		}
		src, _ := netip.AddrFromSlice(octets("src", n))
		dst, _ := netip.AddrFromSlice(octets("dst", n))
		if src.Is4In6() || dst.Is4In6() {
			t.Skip("mapped")
		}
		p := &Path{SrcMAC: MAC(octets("near", 6)), DstMAC: MAC(octets("far", 6)), Src: src,
			Dst: netip.AddrPortFrom(dst, rapid.Uint16().Draw(t, "port")), TOS: rapid.Byte().Draw(t, "tos")}
		sourcePort := rapid.Uint16().Draw(t, "source port")
		payload := octets("payload", rapid.IntRange(0, 1500).Draw(t, "length"))
		b := build(p, sourcePort, payload)
		want := serialized(t, p, sourcePort, payload, labelOf(b))
		at := len(b) - len(payload) - 2
		if want[at] == 0 && want[at+1] == 0 {
			want[at], want[at+1] = 0xff, 0xff // RFC 768 and RFC 8200: none would be 0
		}
		require.Equal(t, want, b)
	})
}

func TestChecksumIsNeverNone(t *testing.T) {
	for _, p := range []*Path{path("10.0.0.1", "10.0.0.2", 862, 0), path("fd00::1", "fd00::2", 862, 0)} {
		h := NewHeader(p)
		b := make([]byte, h.Len())
		for payload := range uint32(0x10000) { // one of them makes the sum 0xffff
			h.Put(b, 20000, 2, payload)
			require.NotEqual(t, []byte{0, 0}, b[h.Len()-2:])
		}
	}
}

func TestFlowLabelIsTheFlows(t *testing.T) {
	p := path("fd00::1", "fd00::2", 862, 46<<2)
	labels := map[uint32]bool{}
	for port := range uint16(4096) {
		label := labelOf(build(p, 20000+port, []byte("one")))
		require.Equal(t, label, labelOf(build(p, 20000+port, []byte("another"))))
		require.NotZero(t, label)
		require.Less(t, label, uint32(1<<20))
		labels[label] = true
	}
	require.Greater(t, len(labels), 4000, "flows differ")
}

func TestSum(t *testing.T) {
	require.EqualValues(t, 0, sum(nil))
	require.EqualValues(t, 0x0100, sum([]byte{1}), "an odd octet is the upper one")
	require.EqualValues(t, 0xddf2, sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}), "RFC 1071, section 3")
	all := make([]byte, 65507)
	for i := range all {
		all[i] = 0xff
	}
	require.EqualValues(t, 0xff00, sum(all))
}

func TestPutAllocatesNothing(t *testing.T) {
	h := NewHeader(path("fd00::1", "fd00::2", 862, 0))
	b := make([]byte, h.Len())
	require.Zero(t, testing.AllocsPerRun(100, func() { h.Put(b, 20000, 68, 1) }))
}

func BenchmarkPut(b *testing.B) {
	for name, p := range map[string]*Path{"IPv4": path("10.0.0.1", "10.0.0.2", 862, 0), "IPv6": path("fd00::1", "fd00::2", 862, 0)} {
		b.Run(name, func(b *testing.B) {
			h := NewHeader(p)
			out := make([]byte, h.Len())
			for b.Loop() {
				h.Put(out, 20000, 68, 0x1234)
			}
		})
	}
}

// A decoder that is not ours finds the frame whole, whatever is in it.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("payload"), uint16(20000), uint16(862), uint8(184), true)
	f.Add([]byte{}, uint16(0), uint16(0), uint8(0), false)
	f.Fuzz(func(t *testing.T, payload []byte, sourcePort, port uint16, tos uint8, six bool) {
		p := path("192.0.2.1", "198.51.100.2", port, tos)
		if six {
			p = path("2001:db8::1", "2001:db8:1::2", port, tos)
		}
		payload = payload[:min(len(payload), 1472)]
		b := build(p, sourcePort, payload)
		packet := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
		udp, ok := packet.TransportLayer().(*layers.UDP)
		require.True(t, ok)
		require.NoError(t, udp.SetNetworkLayerForChecksum(packet.NetworkLayer()))
		// Not what stands behind UDP: the decoder takes the payload for whatever its ports are known for.
		for _, layer := range packet.Layers()[:3] {
			if l, ok := layer.(gopacket.LayerWithChecksum); ok {
				err, sum := l.VerifyChecksum()
				require.NoError(t, err)
				require.True(t, sum.Valid, "%s: %04x, not %04x", layer.LayerType(), sum.Actual, sum.Correct)
			}
		}
		require.Equal(t, payload, append([]byte{}, udp.Payload...))
	})
}
