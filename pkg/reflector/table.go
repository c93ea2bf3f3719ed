package reflector

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// chunkLen is how many sessions or sources are allocated at once. Memory grows
// with the most that were ever alive, and is used again and never returned.
const chunkLen = 64

// table holds the sessions of one worker and class of sources. It is bounded in
// all and for each source, and not safe for concurrent use but for its counters.
type table struct {
	max, perSource int
	// idle (ns) is how long a session must have been silent before a session
	// of another source may take its place.
	idle int64

	seed     maphash.Seed
	sessions []*session // hash buckets, powers of two
	sources  []*source
	all      lru

	freeSession *session
	freeSource  *source
	limiters    *limiters

	n       atomic.Int64 // sessions alive
	evicted atomic.Uint64
}

func newTable(maxSessions, perSource int, idle int64, l *limiters) *table {
	buckets := 1 << bits.Len(uint(maxSessions/8)) // a power of two
	return &table{
		max: maxSessions, perSource: min(perSource, maxSessions), idle: idle,
		seed:     maphash.MakeSeed(),
		sessions: make([]*session, buckets),
		sources:  make([]*source, buckets/4+1),
		all:      lru{which: ofTable},
		limiters: l,
	}
}

func (t *table) bucket(k *key) **session {
	return &t.sessions[maphash.Bytes(t.seed, k[:])&uint64(len(t.sessions)-1)]
}

func (t *table) sourceBucket(a *addr16) **source {
	return &t.sources[maphash.Bytes(t.seed, a[:])%uint64(len(t.sources))]
}

// find returns the session, or nil.
func (t *table) find(k *key) *session {
	for s := *t.bucket(k); s != nil; s = s.chain {
		if s.key == *k {
			return s
		}
	}
	return nil
}

// touch notes that the session was used at now (ns, monotonic).
func (t *table) touch(s *session, now int64) {
	s.seen = now
	t.all.touch(s)
	s.source.sessions.touch(s)
}

// add makes a session, which must not be there yet. A source at its bound loses
// its own oldest one; a full table its oldest, if that has been idle for long
// enough or is of the same source. Otherwise there is no room: nil.
func (t *table) add(k *key, now int64) *session {
	a := k.source()
	src := t.findSource(&a)
	if src != nil && src.n >= t.perSource {
		t.evict(src.sessions.back)
	} else if t.full() {
		switch {
		case now-t.all.back.seen >= t.idle:
			t.evict(t.all.back)
		case src != nil:
			t.evict(src.sessions.back)
		default:
			return nil
		}
	}
	// Looked up again: evicting its last session would have freed it.
	if src = t.findSource(&a); src == nil {
		src = t.addSource(a)
	}
	s := t.newSession()
	*s = session{key: *k, seen: now, source: src, gen: s.gen + 1}
	b := t.bucket(k)
	s.chain, *b = *b, s
	t.all.push(s)
	src.sessions.push(s)
	src.n++
	t.n.Add(1)
	return s
}

func (t *table) full() bool { return int(t.n.Load()) >= t.max }

func (t *table) evict(s *session) {
	t.evicted.Add(1)
	t.remove(s)
}

// remove forgets the session, and its source with the last one.
func (t *table) remove(s *session) {
	for p := t.bucket(&s.key); *p != nil; p = &(*p).chain {
		if *p == s {
			*p = s.chain
			break
		}
	}
	t.all.remove(s)
	src := s.source
	src.sessions.remove(s)
	if src.n--; src.n == 0 {
		t.removeSource(src)
	}
	t.n.Add(-1)
	*s = session{gen: s.gen + 1, chain: t.freeSession}
	t.freeSession = s
}

func (t *table) newSession() *session {
	if t.freeSession == nil {
		chunk := make([]session, chunkLen)
		for i := range chunk {
			chunk[i].chain, t.freeSession = t.freeSession, &chunk[i]
		}
	}
	s := t.freeSession
	t.freeSession = s.chain
	return s
}

func (t *table) findSource(a *addr16) *source {
	for s := *t.sourceBucket(a); s != nil; s = s.chain {
		if s.addr == *a {
			return s
		}
	}
	return nil
}

func (t *table) addSource(a addr16) *source {
	s := t.freeSource
	if s == nil {
		s = new(source)
	} else {
		t.freeSource = s.chain
	}
	b := t.sourceBucket(&a)
	*s = source{addr: a, sessions: lru{which: ofSource}, limiter: t.limiters.get(a), chain: *b}
	*b = s
	return s
}

func (t *table) removeSource(s *source) {
	for p := t.sourceBucket(&s.addr); *p != nil; p = &(*p).chain {
		if *p == s {
			*p = s.chain
			break
		}
	}
	t.limiters.put(s.limiter)
	*s = source{chain: t.freeSource}
	t.freeSource = s
}
