package reflector

// Reason is how a datagram that was received ended.
type Reason uint8

// Every datagram ends in one of these.
const (
	Replied Reason = iota

	Empty          // no octets
	Short          // 1 to 43 octets, or to 40 with TWAMPLight
	Truncated      // longer than any UDP datagram can be: never seen
	NotUnicast     // from or to a multicast, broadcast or unspecified address
	PortLow        // source port 0 or below 1024
	PortReflector  // source port of a reflector
	NotAllowed     // source outside Allow and Peers
	LooksLikeReply // shape of a Session-Reflector's packet
	AuthMissing    // a key is configured, and the packet cannot hold an HMAC
	AuthFailed     // the HMAC of the base packet is wrong
	RatePeer       // above PeerRate
	RateStranger   // above StrangerRate

	LegacyMalformed // to the port of LLAMA's probes, and none
	LegacyNoToS     // a probe of LLAMA that does not say how its reply is to be marked

	SendForbidden   // EPERM, EACCES: a firewall, a prohibiting route
	SendBuffer      // ENOBUFS, ENOMEM, EAGAIN: qdisc or socket buffer full
	SendUnreachable // ENETUNREACH, EHOSTUNREACH, ENETDOWN …: no route, no neighbour
	SendNoAddress   // EADDRNOTAVAIL, EINVAL: the address that was asked is gone
	SendTooBig      // EMSGSIZE, even in fragments
	SendOther

	numReasons
)

var reasonNames = [numReasons]string{
	Replied:         "replied",
	Empty:           "empty",
	Short:           "short",
	Truncated:       "truncated",
	NotUnicast:      "not_unicast",
	PortLow:         "port_low",
	PortReflector:   "port_reflector",
	NotAllowed:      "not_allowed",
	LooksLikeReply:  "looks_like_reply",
	AuthMissing:     "auth_missing",
	AuthFailed:      "auth_failed",
	RatePeer:        "rate_peer",
	RateStranger:    "rate_stranger",
	LegacyMalformed: "legacy_malformed",
	LegacyNoToS:     "legacy_no_tos",
	SendForbidden:   "send_forbidden",
	SendBuffer:      "send_buffer",
	SendUnreachable: "send_unreachable",
	SendNoAddress:   "send_no_address",
	SendTooBig:      "send_too_big",
	SendOther:       "send_other",
}

// String is the reason's name in the agent's counters.
func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return "unknown"
}

// mends is what a person can do about a reason; the others are not logged.
var mends = [numReasons]string{
	SendForbidden: "let the reflector's replies out through the host's firewall (udp, source port as listened on)",
	SendNoAddress: "an address of this host went away while it was probed",
	SendBuffer:    "the host's queue to the network is full: see the qdisc's drops and txqueuelen",
}
