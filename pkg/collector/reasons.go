package collector

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// A reason says why a probe that was due did not leave.
type reason uint8

const (
	reasonOverrun     reason = iota // missed by more than an interval
	reasonNoRoute                   // ENETUNREACH, EHOSTUNREACH
	reasonNoNeighbour               // the next hop did not answer ARP or neighbour discovery
	reasonFiltered                  // EPERM, EACCES: this host's firewall
	reasonNoBuffer                  // ENOBUFS: a qdisc or a device queue is full
	reasonSendBuffer                // EAGAIN: the socket's send buffer is full
	reasonTooBig                    // EMSGSIZE
	reasonLinkDown                  // ENETDOWN, ENODEV, ENXIO
	reasonNoSource                  // EADDRNOTAVAIL: the source address is gone
	reasonSourcePort                // the source port could not be bound
	reasonInFlight                  // as many probes of the flow as fit are not yet forgotten
	reasonNeverLeft                 // this host took it and did not transmit it
	reasonSlowed                    // left out to spare this host: see governor
	reasonOther
	numReasons
)

var reasonNames = [numReasons]string{
	"overrun", "no_route", "no_neighbour", "filtered", "no_buffer", "send_buffer", "too_big",
	"link_down", "no_source", "source_port", "in_flight", "never_left", "slowed", "other",
}

// What a person can do about it; "" where the name says it all.
var reasonMends = [numReasons]string{
	reasonOverrun:    "this host could not keep the pace: fewer probes, or more CPU",
	reasonNoRoute:    "no route to the target from this host, or probing.source is no address of it",
	reasonFiltered:   "this host's firewall refuses the probes: allow UDP to the target's port",
	reasonNoBuffer:   "a queue of this host is full: see tc -s qdisc",
	reasonSendBuffer: "the socket's send buffer is full: fewer probes, or a larger net.core.wmem_max",
	reasonTooBig:     "the probe is larger than the interface's MTU",
	reasonNeverLeft:  "this host took the probes and did not transmit them: see the interface's carrier and its queue (tc -s qdisc)",
	reasonSlowed:     "probing would take more of this host than it may (probing.max_cpu, buffers): fewer targets, ports or classes, or a longer interval",
	reasonLinkDown:   "the interface that probes leave by is down, or not there (probing.device)",
	reasonNoSource:   "this host does not have the address that probes have to leave from (probing.source)",
	reasonSourcePort: "another process holds the source port: choose other probing.source_ports",
}

func reasonOf(e unix.Errno) reason {
	switch e {
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EHOSTDOWN, unix.EINVAL:
		return reasonNoRoute
	case unix.EPERM, unix.EACCES:
		return reasonFiltered
	case unix.ENOBUFS, unix.ENOMEM:
		return reasonNoBuffer
	case unix.EAGAIN:
		return reasonSendBuffer
	case unix.EMSGSIZE:
		return reasonTooBig
	case unix.ENETDOWN, unix.ENODEV, unix.ENXIO:
		return reasonLinkDown
	case unix.EADDRNOTAVAIL:
		return reasonNoSource
	}
	return reasonOther
}

// reasonFrom is reasonOf for probes that have to leave from an address, where it is valid.
func reasonFrom(source netip.Addr, e unix.Errno) reason {
	if e == unix.EINVAL && source.IsValid() {
		return reasonNoSource // which the kernel does not tell from a route that is a black hole
	}
	return reasonOf(e)
}

// mayBePending says whether the errno may be an older probe's ICMP error, which
// the kernel reports on the next send of the socket instead of sending. Such a
// send is tried once more.
func mayBePending(e unix.Errno) bool {
	switch e {
	case unix.EPERM, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		return false
	}
	return true
}
