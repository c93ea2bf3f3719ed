// Package reflector is the complete STAMP Session-Reflector (RFC 8762, RFC 8972)
// on UDP sockets: stateful, with every guard on by default.
//
// Each listening address has one worker a core, each with a socket of its own
// (SO_REUSEPORT). The kernel hashes a flow's addresses and ports to one socket,
// so a session belongs to one worker and its table needs no lock; only the rate
// limit of a source is shared, as one atomic word.
//
// By choice it answers the probes of Dropbox's LLAMA too, on a port of their own: as
// they came, marked as they ask.
//
// A datagram goes guard → verdict of the source → authentication → session →
// rate → reply, and ends in exactly one Reason, each with its counter:
// Stats.Received is always the sum of Stats.Ended once the workers rest.
package reflector
