package collector

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// seen collects what reached a peer.
type seen struct {
	mu      sync.Mutex
	packets map[uint16][]stamp.SenderPacket // by SSID
}

func (s *seen) watch(p *peer) {
	s.packets = map[uint16][]stamp.SenderPacket{}
	p.arrived = func(b []byte) {
		var pkt stamp.SenderPacket
		if stamp.DecodeSender(&pkt, b) == nil {
			s.mu.Lock()
			s.packets[pkt.SSID] = append(s.packets[pkt.SSID], pkt)
			s.mu.Unlock()
		}
	}
}

// A session is (source, destination, source port, class): its numbers count from
// 0 without a gap, its SSID is 1 + the class's index.
func TestSessionsHaveAnSSIDAClassAndCountFromZero(t *testing.T) {
	var s seen
	p := newPeer(t, "127.0.0.1:0", nil, s.watch)
	o := testOptions(target("t", p.addr()))
	o.Plan.Count = 1
	o.Plan.Classes = []probe.Class{{Name: "be"}, {Name: "ef", DSCP: 46}, {Name: "af11", DSCP: 10}}
	w, _ := measure(t, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(t, w[0].Paths, 3)
	require.Len(t, s.packets, 3)
	for ssid := uint16(1); ssid <= 3; ssid++ {
		require.Len(t, s.packets[ssid], 10, "ssid %d", ssid)
		for i, pkt := range s.packets[ssid] {
			require.EqualValues(t, i, pkt.Seq)
			require.NotZero(t, pkt.ErrorEstimate.Multiplier())
		}
	}
}

// The format of timestamps is chosen for the sender; RTTs do not depend on it.
func TestTimestampFormatIsChosen(t *testing.T) {
	for _, format := range []stamp.Format{stamp.NTP, stamp.PTPv2} {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			var s seen
			p := newPeer(t, "127.0.0.1:0", nil, s.watch)
			o := testOptions(target("t", p.addr()))
			o.Format, o.Count = format, 3
			before := time.Now()
			w, _ := measure(t, o)
			require.EqualValues(t, 12, onePath(t, w).Received)
			require.EqualValues(t, 12, onePath(t, w).RTT.Count())
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, pkt := range s.packets[1] {
				require.Equal(t, format, pkt.ErrorEstimate.Format())
				at := time.Unix(0, format.UnixNano(pkt.Timestamp, before.UnixNano()))
				// A kernel that knows TAI has PTP stamps 37 s ahead.
				require.WithinDuration(t, before, at, time.Minute)
			}
		})
	}
}

// zeroSSID is a reflector of RFC 8762 alone: it returns zeroes for the SSID.
func zeroSSID(b []byte) []byte {
	b[14], b[15] = 0, 0
	return b
}

func TestTargetThatReturnsNoSSID(t *testing.T) {
	classes := []probe.Class{{Name: "be"}, {Name: "ef", DSCP: 46}}
	for _, ssid := range []bool{true, false} {
		p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) { p.edit = zeroSSID })
		to := target("t", p.addr())
		to.SSID = ssid
		o := testOptions(to)
		o.Plan.Classes, o.Count = classes, 2
		w, c := measure(t, o)
		require.Len(t, w[0].Paths, 2)
		ports := map[uint16]bool{}
		for i := range w[0].Paths {
			got := &w[0].Paths[i]
			for _, f := range got.FlowDetail {
				ports[f.SrcPort] = true
			}
			if ssid {
				require.Equal(t, probe.Counts{Sent: 8, Lost: 8, LostUnsplit: 8}, got.Counts)
			} else {
				require.Equal(t, probe.Counts{Sent: 8, Received: 8}, got.Counts)
			}
		}
		if ssid {
			require.EqualValues(t, 16, c.Stats()["reply_unmatched"], "what cannot be told apart is not believed")
			require.Len(t, ports, 4, "classes share source ports")
		} else {
			require.Len(t, ports, 8, "classes have source ports of their own")
		}
	}
}

// A stateless reflector without TLVs copies the number: all that is known is loss.
func TestBareProbesWithoutTLV(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", every(10, dropForward))
	to := target("t", p.addr())
	to.TLV = false
	w, _ := measure(t, testOptions(to))
	got := onePath(t, w)
	require.Equal(t, probe.Counts{Sent: 40, Received: 36, Lost: 4, LostForward: 4}, got.Counts,
		"this reflector is stateful: its numbers fell behind")
	require.False(t, got.DSCPForward.OK, "no Class of Service TLV, so that it is not known")
	require.True(t, got.DSCPReverse.OK)
}

func TestForgedAndForeignRepliesAreCountedNotBelieved(t *testing.T) {
	liar := newPeer(t, "127.0.0.1:0", nil)
	also := func(reply []byte, send, sendFrom2 func([]byte)) {
		stale := append([]byte(nil), reply...)
		stale[24] = 0xff // of a probe that was never sent
		send(stale)
		send(reply[:20])
		sendFrom2(append([]byte(nil), reply...)) // the right answer from the wrong address
	}
	p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) { p.also, p.second = also, liar.conn })
	w, c := measure(t, testOptions(target("t", p.addr())))
	require.Equal(t, probe.Counts{Sent: 40, Received: 40}, onePath(t, w).Counts)
	s := c.Stats()
	require.EqualValues(t, 40, s["reply_stale"])
	require.EqualValues(t, 40, s["reply_short"])
	require.EqualValues(t, 40, s["reply_unmatched"])
}

// Stamps that make no sense leave the RTT out and count the reply.
func TestWildTimestampsGiveNoRTT(t *testing.T) {
	for name, edit := range map[string]func([]byte) []byte{
		"t3 before t2": func(b []byte) []byte { b[4]--; return b },
		"t3 far ahead": func(b []byte) []byte { b[4]++; return b },
		"no stamps":    func(b []byte) []byte { clear(b[4:12]); clear(b[16:24]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, "127.0.0.1:0", nil, func(p *peer) { p.edit = edit })
			o := testOptions(target("t", p.addr()))
			o.Count = 2
			w, c := measure(t, o)
			got := onePath(t, w)
			require.Equal(t, probe.Counts{Sent: 8, Received: 8}, got.Counts)
			require.Zero(t, got.RTT.Count())
			require.EqualValues(t, 8, c.Stats()["reply_bad_stamps"])
		})
	}
}

func TestUnreachableIsNotLost(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		p := newPeer(t, listen, nil)
		to := p.addr()
		require.NoError(t, p.conn.Close())
		o := testOptions(target("t", to))
		o.Count = 3
		w, c := measure(t, o)
		require.Equal(t, probe.Counts{Sent: 12, Unreachable: 12}, onePath(t, w).Counts)
		require.EqualValues(t, 12, c.Stats()["icmp"])
	}
}
