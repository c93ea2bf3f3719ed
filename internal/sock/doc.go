// Package sock is what the reflector and the collector share of Linux UDP
// sockets: opening one with the kernel's stamps and errors, and moving datagrams
// in batches (recvmmsg, sendmmsg) with DSCP, TTL and addresses a packet, without
// an allocation a packet.
//
// Nothing here is safe for concurrent use on the same value; descriptors may be
// used by one reader and one writer at a time.
package sock
