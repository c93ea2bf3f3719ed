package reflector

import (
	"net/netip"
	"time"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// engine turns requests into replies. It knows no socket. Each worker has one,
// and nothing in it is for concurrent use but the counters.
type engine struct {
	shared *shared
	port   uint16 // that the worker listens on
	legacy bool   // for probes of Dropbox's LLAMA, and no others
	count  counters

	policy *policy
	auths  []*stamp.Authenticator // of policy.keys, this worker's own

	peers, strangers *table

	now     int64   // ns monotonic, of the batch
	wall    int64   // ns since 1970, at the same time
	crowd   limiter // of all that have to be answered without a session
	clock   *ClockState
	arrival stamp.Arrival
	info    stamp.TimestampInformation
	locate  stamp.Location
	key     key
}

// reply is what is left to do for a request that will be answered.
type reply struct {
	b       []byte
	asIs    bool  // the request's octets, unchanged
	tos     uint8 // of the reply
	result  stamp.Result
	auth    *stamp.Authenticator
	session *session // nil: answered without one
	gen     uint64   // of the session
	dead    bool     // not to be sent any more
}

func newEngine(s *shared, port uint16, legacy bool) *engine {
	o := &s.options
	return &engine{
		shared: s, port: port, legacy: legacy,
		peers:     newTable(o.PeerSessions, o.SessionsPerPeer, int64(peerIdle), s.limiters),
		strangers: newTable(o.StrangerSessions, o.StrangerSessions, 0, s.limiters),
	}
}

// peerIdle is how long a peer's session is safe from other peers' when their
// table is full.
const peerIdle = time.Minute

// begin prepares for a batch: the policy, the clock and the time are looked at
// once for all its datagrams.
func (e *engine) begin() {
	now := time.Now()
	e.now, e.wall = int64(now.Sub(e.shared.start)), now.UnixNano()
	e.clock = e.shared.clock.Load()
	if p := e.shared.policy.Load(); p != e.policy {
		e.policy = p
		e.auths = make([]*stamp.Authenticator, len(p.keys))
		for i, k := range p.keys {
			e.auths[i], _ = stamp.NewAuthenticator(k) // compile has tried it
		}
	}
	e.info = stamp.TimestampInformation{
		SyncIn: e.clock.Sync, MethodIn: stamp.MethodSW,
		SyncOut: e.clock.Sync, MethodOut: stamp.MethodSW,
	}
}

// process guards the request and rewrites it in place into its reply, all but
// T3. On any Reason but Replied there is nothing to send and q.b is as it was.
func (e *engine) process(q *request, r *reply) Reason {
	e.count.received.Add(1)
	v := e.policy.verdict(q.src.Addr())
	reason := e.judge(q, r, v)
	if reason != Replied {
		e.count.ended[reason].Add(1)
	}
	return reason
}

func (e *engine) judge(q *request, r *reply, v *verdict) Reason {
	if e.legacy {
		if reason := e.policy.guardLegacy(q, v); reason != Replied {
			return reason
		}
		return e.answerLegacy(q, r, v)
	}
	if reason := e.policy.guard(q, v); reason != Replied {
		return reason
	}
	return e.answer(q, r, v)
}

func (e *engine) answer(q *request, r *reply, v *verdict) Reason {
	a := &e.arrival
	a.Mode, r.auth = stamp.Unauthenticated, nil
	if k := v.keyFor(q.b); k >= 0 {
		a.Mode, r.auth = stamp.Authenticated, e.auths[k]
		// Verified before any session is touched: a forged packet costs one
		// hash, and neither counts in a session nor takes one's place.
		switch {
		case len(q.b) < stamp.AuthBaseLen:
			return AuthMissing
		case !r.auth.Verify(q.b):
			return AuthFailed
		case stamp.LooksLikeAuthReply(q.b):
			return LooksLikeReply
		}
	}
	e.key.set(q.src, q.meta.Local, stamp.SSID(q.b, a.Mode), q.meta.IfIndex)
	s, why := e.admit(q, v)
	if why == Replied {
		e.reflect(q, r, s)
	}
	return why
}

// admit counts the request in its session, which is nil if there is no room for one,
// and says whether the rate of its source lets it be answered.
func (e *engine) admit(q *request, v *verdict) (*session, Reason) {
	s := e.session(v.peer)
	limit := &e.crowd
	if s != nil {
		s.rx++
		limit = s.source.limiter
	}
	switch {
	case limit.allow(e.now, e.arrivedAt(q), e.rate(v.peer)):
	case v.peer:
		return nil, RatePeer
	default:
		return nil, RateStranger
	}
	if s != nil {
		s.tx++
	} else {
		e.count.stateless.Add(1)
	}
	return s, Replied
}

// arrivedAt returns when the request arrived, in ns monotonic. Some seconds before
// now are believed, and none ahead, since the stamp is of a clock that may step.
func (e *engine) arrivedAt(q *request) int64 {
	const most = int64(5 * time.Second)
	waited := e.wall - q.meta.Stamp
	return e.now - min(max(waited, 0), most)
}

// reflect fills in what is known of the arrival, and rewrites the packet.
func (e *engine) reflect(q *request, r *reply, s *session) {
	a := &e.arrival
	a.Verified = a.Mode == stamp.Authenticated
	a.TWAMPLight = e.policy.twampLight
	a.Stateless = s == nil
	a.Receive = e.clock.Clock.FromUnixNano(q.meta.Stamp)
	a.ErrorEstimate = e.clock.Estimate
	a.TTL, a.DSCP, a.ECN = q.meta.TTL, q.meta.TOS>>2, q.meta.TOS&3
	a.AllowDSCP = e.policy.allowDSCP
	a.FollowUp, a.Info, a.Location = nil, nil, nil
	r.session, r.dead, r.asIs = s, false, false
	if s != nil {
		a.Rx, a.Tx = s.rx, s.tx
		if s.last.Method != 0 {
			a.FollowUp = &s.last
		}
		r.gen = s.gen
	}
	if e.clock.Sync != 0 {
		a.Info = &e.info
	}
	e.locate.Report = e.policy.location
	e.locate.Src, e.locate.Dst = q.src, netip.AddrPortFrom(q.meta.Local, e.port)
	a.Location = &e.locate
	r.b = q.b
	// The guard has seen to the length and answer to the HMAC: no error is left.
	r.result, _ = stamp.Reflect(q.b, a, r.auth)
	r.tos = r.result.DSCP << 2
	if r.result.Malformed {
		e.count.malformed.Add(1)
	}
	if r.result.Integrity {
		e.count.integrity.Add(1)
	}
}

func (e *engine) rate(peer bool) rate {
	if peer {
		return e.policy.peerRate
	}
	return e.policy.strangerRate
}

// session finds or makes the session of e.key. A source that a new policy has
// moved to the other class takes its session along. It is nil if the peers'
// table is full of others' sessions that are alive.
func (e *engine) session(peer bool) *session {
	own, other := e.strangers, e.peers
	if peer {
		own, other = e.peers, e.strangers
	}
	if s := own.find(&e.key); s != nil {
		own.touch(s, e.now)
		return s
	}
	s := own.add(&e.key, e.now)
	if old := other.find(&e.key); s != nil && old != nil {
		s.rx, s.tx, s.last = old.rx, old.tx, old.last
		other.remove(old)
	}
	return s
}

// mustWait tells whether the request asks for the T3 of the previous reply, which
// may be in the current batch: then that has to leave first.
func (e *engine) mustWait(b []byte) bool {
	if e.legacy {
		return false
	}
	return hasFollowUp(b, stamp.BaseLen) || len(e.auths) > 0 && hasFollowUp(b, stamp.AuthBaseLen)
}

func hasFollowUp(b []byte, base int) bool {
	if !stamp.MayHave(b, base, stamp.TypeFollowUpTelemetry) {
		return false
	}
	for it := stamp.NewTLVs(b, base); it.Next(); {
		if it.Type == stamp.TypeFollowUpTelemetry {
			return true
		}
	}
	return false
}

// sent notes the reply that has left, for Follow-Up Telemetry and the counters.
func (e *engine) sent(r *reply, t3 stamp.Timestamp) {
	e.count.ended[Replied].Add(1)
	if r.asIs {
		e.count.legacy.Add(1)
		return
	}
	if s := r.session; s != nil && s.gen == r.gen {
		s.last = stamp.FollowUp{Seq: r.result.Seq, Timestamp: t3, Method: stamp.MethodSW}
	}
}

// failed takes the reply back, which was not sent: its number is used again.
func (e *engine) failed(r *reply, why Reason) {
	e.count.ended[why].Add(1)
	if s := r.session; s != nil && s.gen == r.gen {
		s.tx--
	}
	r.dead = true
}
