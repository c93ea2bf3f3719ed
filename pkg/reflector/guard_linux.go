package reflector

import (
	"net/netip"

	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// routerPort is the one source port below 1024 that may be allowed.
const routerPort = stamp.Port

// firstUserPort ends the ports of services, which answer what a forged source
// address makes us send to them.
const firstUserPort = 1024

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// request is one datagram as it was received.
type request struct {
	b         []byte
	src       netip.AddrPort
	meta      sock.Meta
	truncated bool
}

// guard says why the request is not looked at any further, or Replied. What it
// checks costs less than a session, and leaves no trace but a counter.
func (c *policy) guard(q *request, v *verdict) Reason {
	if len(q.b) > 0 && len(q.b) < c.minLen {
		return Short
	}
	if r := guardPacket(q); r != Replied {
		return r
	}
	if r := c.guardPort(q.src.Port()); r != Replied {
		return r
	}
	switch {
	case !v.allowed:
		return NotAllowed
	case stamp.LooksLikeReply(q.b):
		return LooksLikeReply
	}
	return Replied
}

// guardPacket is what no reflector answers, whatever the probe.
func guardPacket(q *request) Reason {
	switch {
	case len(q.b) == 0:
		return Empty
	case q.truncated:
		return Truncated
	case q.meta.Group || !unicast(q.src.Addr()) || q.meta.Local.IsValid() && !unicast(q.meta.Local):
		return NotUnicast
	}
	return Replied
}

func (c *policy) guardPort(p uint16) Reason {
	switch {
	case p == routerPort && c.allow862:
		// Routers send from 862; a reflector there that we are in a loop with
		// sends what looks like a reply.
		return Replied
	case c.reflectors.has(p):
		return PortReflector
	case p < firstUserPort:
		return PortLow
	}
	return Replied
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != limitedBroadcast
}
