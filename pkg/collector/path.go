package collector

import (
	"net/netip"
	"sync/atomic"

	"github.com/llama-agent/llama-agent/internal/probe"
	"github.com/llama-agent/llama-agent/internal/sock"
	"github.com/llama-agent/llama-agent/internal/stamp"
)

// pathKey is what makes a path the same path after a reload.
type pathKey struct {
	target string
	class  probe.Class
	addr   netip.AddrPort
	tlv    bool
	ssid   uint16 // 1 + the class's index; 0 where the target returns none
	key    string
	size   int
	sizes  string // that are swept, for comparison
	ports  string // the source ports, for comparison
}

// A path is one (target, family, class): a series. Its flows differ by source port.
type path struct {
	key      pathKey
	session  flowKey // but for the socket
	target   *probe.Target
	route    route
	clock    probe.Clock // of its last RTT
	probe    *stamp.Template
	sweep    *sweep    // nil: all probes are as probe
	transits []transit // by flow and slot; nil: no one-way delays
	auth     *stamp.Authenticator
	mark     sock.Outgoing
	framing  *framing // nil: probes leave from their UDP sockets
	dest     sock.Sockaddr
	flows    []flow
	slots    []slot  // of all flows, inFlight of each
	lent     []*slot // instead, by flow, where inFlight is 1 (lender)
	inFlight uint32
	windows  []*pathWindow
	spare    atomic.Pointer[pathWindow] // one that was written: the next is made of it
	kernel   bool                       // probes from now on are measured in the kernel
	stamped  bool                       // a transmit stamp has come: the clock is the sockets'
	jitter   float64                    // ns, RFC 3550 section 6.4.1, running
	order    int                        // in the plan: paths are written in that order
}

func (p *path) family() int {
	if p.key.addr.Addr().Is4() {
		return 4
	}
	return 6
}

// route is how this host reaches an address: for tags, and to know whose drops count.
type route struct {
	source   netip.Addr // invalid if unknown
	ifIndex  int        // 0 if unknown
	stamps   bool       // its driver says that it stamps what it transmits
	kernel   bool       // probes are stamped and replies taken there (Kernel.Covers)
	next     *nextHop   // for frames; nil: none are to be sent
	noFrames string     // why, although they were asked for

	blocked     bool   // nothing leaves by another way than the device's,
	blockReason reason // and it has none, for that reason
}
