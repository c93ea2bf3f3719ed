package lab

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// DefaultReflectorPort is the port of RFC 8762 section 4.1.
const DefaultReflectorPort = 862

// TruthOptions say which packets of a tap are probes and how they are laid out.
type TruthOptions struct {
	Port          uint16 // the reflector's; DefaultReflectorPort if 0
	Authenticated bool   // the layout of 112 octets
}

// RTT is one probe whose request and reply both passed the fabric's port to the prober.
type RTT struct {
	Sender, Reflector netip.AddrPort
	SSID              uint16
	Sequence          uint32        // the Session-Sender's
	Request, Reply    Record        // as they passed the port
	Residence         time.Duration // T3 − T2, by the reflector's own stamps
	Network           time.Duration // between the two passings, without the residence
}

// Truth is what a tap at the prober's port knows about its probes.
type Truth struct {
	RTTs       []RTT // in the order of the replies
	Requests   int
	Replies    int
	Unanswered int // requests without a reply
	Duplicates int // further replies to a request that was answered
	Strays     int // replies to no request that passed here, or to one that was sent twice
}

// layout holds octet offsets (RFC 8762 section 4, RFC 8972 section 3). They are written down here once
// more, apart from internal/stamp: the truth must not share its mistakes.
type layout struct {
	size                                     int
	ssid                                     int // of both packets, after the Error Estimate
	replyT3, replyError, replyT2, replySeqNr int
}

var (
	open          = layout{size: 44, ssid: 14, replyT3: 4, replyError: 12, replyT2: 16, replySeqNr: 24}
	authenticated = layout{size: 112, ssid: 26, replyT3: 16, replyError: 24, replyT2: 32, replySeqNr: 48}
)

type probeKey struct {
	sender, reflector netip.AddrPort
	ssid              uint16
	sequence          uint32
}

type probeState struct {
	request  Record
	sent     int
	answered bool
}

// RTTTruth pairs STAMP requests and replies of a tap at the fabric's port to the prober, by addresses,
// ports, SSID and the Session-Sender's sequence number. A reflector that returns no SSID is not paired.
func RTTTruth(records []Record, o TruthOptions) Truth {
	if o.Port == 0 {
		o.Port = DefaultReflectorPort
	}
	l := open
	if o.Authenticated {
		l = authenticated
	}
	var truth Truth
	probes := make(map[probeKey]*probeState)
	for _, r := range records {
		switch {
		case len(r.Head) < l.size:
		case r.Direction == FromHost && r.Dst.Port() == o.Port:
			truth.Requests++
			key := probeKey{r.Src, r.Dst, binary.BigEndian.Uint16(r.Head[l.ssid:]), binary.BigEndian.Uint32(r.Head)}
			p := probes[key]
			if p == nil {
				p = &probeState{request: r}
				probes[key] = p
			}
			p.sent++
		case r.Direction == ToHost && r.Src.Port() == o.Port:
			truth.Replies++
			truth.reply(probes, l, r)
		}
	}
	for _, p := range probes {
		if !p.answered {
			truth.Unanswered += p.sent
		}
	}
	return truth
}

func (t *Truth) reply(probes map[probeKey]*probeState, l layout, r Record) {
	key := probeKey{r.Dst, r.Src, binary.BigEndian.Uint16(r.Head[l.ssid:]), binary.BigEndian.Uint32(r.Head[l.replySeqNr:])}
	p := probes[key]
	switch {
	case p == nil || p.sent > 1:
		t.Strays++
		return
	case p.answered:
		t.Duplicates++
		return
	}
	p.answered = true
	residence := l.residence(r.Head)
	t.RTTs = append(t.RTTs, RTT{
		Sender: r.Dst, Reflector: r.Src, SSID: key.ssid, Sequence: key.sequence,
		Request: p.request, Reply: r, Residence: residence,
		Network: time.Duration(r.Time-p.request.Time) - residence,
	})
}

// residence is T3 − T2 in the format that the reply's Z bit names: NTP (32.32) or truncated PTPv2
// (seconds, nanoseconds). Differences wrap, so the end of an era does no harm.
func (l layout) residence(reply []byte) time.Duration {
	t3, t2 := binary.BigEndian.Uint64(reply[l.replyT3:]), binary.BigEndian.Uint64(reply[l.replyT2:])
	const zBit = 0x4000
	if binary.BigEndian.Uint16(reply[l.replyError:])&zBit != 0 {
		seconds := int32(uint32(t3>>32) - uint32(t2>>32))
		return time.Duration(seconds)*time.Second + time.Duration(int64(uint32(t3))-int64(uint32(t2)))
	}
	diff := int64(t3 - t2)
	return time.Duration(diff>>32)*time.Second + time.Duration((diff&0xffffffff*1e9+1<<31)>>32)
}
