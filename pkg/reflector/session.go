package reflector

import (
	"encoding/binary"
	"net/netip"

	"github.com/llama-agent/llama-agent/internal/stamp"
)

// addr16 is an address of either family, IPv4 in its mapped form.
type addr16 = [16]byte

// key identifies a session within a worker, whose local port is always the same:
//
//	 0 source address        16
//	16 local address         16
//	32 source port            2
//	34 SSID                   2
//	36 interface, link-local  4
type key [40]byte

func (k *key) set(src netip.AddrPort, local netip.Addr, ssid uint16, ifIndex int) {
	s := src.Addr().As16()
	copy(k[0:], s[:])
	if local.IsValid() {
		l := local.As16()
		copy(k[16:], l[:])
	} else {
		clear(k[16:32])
	}
	binary.BigEndian.PutUint16(k[32:], src.Port())
	binary.BigEndian.PutUint16(k[34:], ssid)
	if !src.Addr().IsLinkLocalUnicast() {
		ifIndex = 0
	}
	binary.BigEndian.PutUint32(k[36:], uint32(ifIndex))
}

func (k *key) source() addr16 { return addr16(k[:16]) }

// session is the state of one STAMP session (RFC 8762, 4: the stateful mode).
type session struct {
	key key
	rx  uint32 // requests received, those refused by the rate included
	tx  uint32 // replies sent, those of the current batch included

	last stamp.FollowUp // the last reply that was sent; Method is 0 if none was
	seen int64          // ns monotonic, of the last request
	gen  uint64         // changes when the memory is given to another session

	source *source
	chain  *session                         // of the hash bucket, or of the free list
	links  [2]struct{ prev, next *session } // by ofSource, ofTable
}

// The lists that a session is in, each ordered by its last request.
const (
	ofSource = iota
	ofTable
)

// lru is a list of sessions, the one that was used last in front.
type lru struct {
	which       int
	front, back *session
}

func (l *lru) push(s *session) {
	s.links[l.which].prev, s.links[l.which].next = nil, l.front
	if l.front != nil {
		l.front.links[l.which].prev = s
	} else {
		l.back = s
	}
	l.front = s
}

func (l *lru) remove(s *session) {
	k := s.links[l.which]
	if k.prev != nil {
		k.prev.links[l.which].next = k.next
	} else {
		l.front = k.next
	}
	if k.next != nil {
		k.next.links[l.which].prev = k.prev
	} else {
		l.back = k.prev
	}
}

func (l *lru) touch(s *session) {
	if l.front != s {
		l.remove(s)
		l.push(s)
	}
}

// source is a source address that has sessions in a table.
type source struct {
	addr     addr16
	sessions lru
	n        int
	limiter  *limiter
	chain    *source
}
