package reflector

import "sync/atomic"

// Stats are counters since New; they only grow, but for the numbers of sessions.
type Stats struct {
	Received uint64             // datagrams read from the sockets
	Ended    [numReasons]uint64 // by Reason; the sum is Received

	Malformed   uint64 // replied, with the M flag on a TLV
	Integrity   uint64 // replied, with the I flag: the HMAC TLV failed
	Legacy      uint64 // replied, to a probe of Dropbox's LLAMA
	Stateless   uint64 // replied without a session: the table of peers was full
	UserStamps  uint64 // T2 from the user's clock, for want of a kernel stamp
	ICMPErrors  uint64 // that came back for replies
	RecvErrors  uint64 // receive calls that failed otherwise
	Evicted     uint64 // sessions forgotten for new ones
	KernelDrops uint64 // datagrams that the kernel dropped for want of socket buffer

	PeerSessions     uint64 // alive now
	StrangerSessions uint64 // alive now
}

// Map names every counter and gauge, as the agent reports them.
func (s Stats) Map() map[string]uint64 {
	m := map[string]uint64{
		"received": s.Received, "malformed": s.Malformed, "integrity": s.Integrity, "legacy": s.Legacy,
		"stateless": s.Stateless, "user_stamps": s.UserStamps, "icmp_errors": s.ICMPErrors,
		"recv_errors": s.RecvErrors, "evicted": s.Evicted, "kernel_drops": s.KernelDrops,
		"peer_sessions": s.PeerSessions, "stranger_sessions": s.StrangerSessions,
	}
	for r, n := range s.Ended {
		m[Reason(r).String()] = n
	}
	return m
}

// counters belong to one worker, which writes them; anyone may read.
type counters struct {
	received atomic.Uint64
	ended    [numReasons]atomic.Uint64

	malformed, integrity, legacy, stateless atomic.Uint64
	userStamps                              atomic.Uint64
	icmpErrors, recvErrors                  atomic.Uint64
}

func (c *counters) addTo(s *Stats) {
	// ended before received, so that a snapshot never has more ends than datagrams.
	for r := range c.ended {
		s.Ended[r] += c.ended[r].Load()
	}
	s.Received += c.received.Load()
	s.Malformed += c.malformed.Load()
	s.Integrity += c.integrity.Load()
	s.Legacy += c.legacy.Load()
	s.Stateless += c.stateless.Load()
	s.UserStamps += c.userStamps.Load()
	s.ICMPErrors += c.icmpErrors.Load()
	s.RecvErrors += c.recvErrors.Load()
}
