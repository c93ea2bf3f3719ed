/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sessions and rates. Counters are added to atomically and read after: of two
 * CPUs that have the same session at once neither's packet is lost from the
 * counts, but both may tell the same number (an addition that returns what it
 * made does not load on 5.10). A session's packets come by one queue, so this
 * takes a change of the queue's CPU at that moment.
 */
#pragma once

#include "guard.h"

static __always_inline struct llama_session *session_find(const struct packet *p, struct llama_key *key)
{
	struct llama_session *s;

	if (p->peer) {
		s = bpf_map_lookup_elem(&llama_peer, key);
		apart("peer");
	} else {
		s = bpf_map_lookup_elem(&llama_guest, key);
		apart("guest");
	}
	return s;
}

/* source_make makes the source of a peer's sessions. Those that may have to
 * authenticate get none. */
static __always_inline struct llama_source *source_make(const struct packet *p, struct llama_addr *addr)
{
	struct llama_source fresh = {.gen = p->gen};

	bpf_map_update_elem(&llama_source, addr, &fresh, BPF_NOEXIST); /* or another CPU has, or it is full */
	return bpf_map_lookup_elem(&llama_source, addr);
}

/* session_make makes the session. A source that a new policy has moved to the
 * other class takes its session along. NULL: no room. */
static __always_inline struct llama_session *session_make(const struct frame *f, const struct packet *p,
							  const struct llama_config *c, struct llama_key *key,
							  struct llama_source *src)
{
	struct llama_session fresh = {.seen_ns = p->rx_ns}, *old, *s;

	if (p->peer) {
		if (!src || src->sessions >= c->sessions_per_peer)
			return NULL;
		old = bpf_map_lookup_elem(&llama_guest, key);
		if (old)
			fresh = *old;
		if (bpf_map_update_elem(&llama_peer, key, &fresh, BPF_NOEXIST) == 0)
			__sync_fetch_and_add(&src->sessions, 1);
		if (old)
			bpf_map_delete_elem(&llama_guest, key);
	} else {
		old = bpf_map_lookup_elem(&llama_peer, key);
		if (old)
			fresh = *old;
		bpf_map_update_elem(&llama_guest, key, &fresh, BPF_NOEXIST);
		if (old) /* user space counts the source's sessions anew */
			bpf_map_delete_elem(&llama_peer, key);
	}
	s = session_find(p, key);
	if (s)
		guard_remember(f, p, s);
	return s;
}

/* session_up leaves the session to the socket reflector. All that comes later
 * follows: counters must not be kept in two places. */
static __always_inline void session_up(const struct frame *f, const struct packet *p, const struct llama_config *c,
				       struct llama_key *key, struct llama_source *src, struct llama_session *s)
{
	if (!s && p->peer && !src)
		src = source_make(p, &key->src);
	if (!s)
		s = session_make(f, p, c, key, src);
	if (s) {
		s->flags |= SESSION_UP;
		s->seen_ns = p->rx_ns;
	}
}

/* rate_allow is GCRA, as pkg/reflector has it. Of a source that is within its
 * burst no request is forgotten; one that was silent may gain a request a CPU. */
static __always_inline bool rate_allow(__u64 *tat_ns, __u64 now_ns, const struct llama_rate *rate)
{
	__u64 tat = *tat_ns;

	if (tat <= now_ns) {
		*tat_ns = now_ns + rate->interval_ns;
		return true;
	}
	if (tat - now_ns > rate->tolerance_ns)
		return false;
	__sync_fetch_and_add(tat_ns, rate->interval_ns);
	return true;
}

/* guest_rate finds or makes the rate of a stranger. */
static __always_inline __u64 *guest_rate(struct llama_addr *addr)
{
	struct llama_gsource fresh = {}, *src = bpf_map_lookup_elem(&llama_gsource, addr);

	if (!src) {
		bpf_map_update_elem(&llama_gsource, addr, &fresh, BPF_NOEXIST);
		src = bpf_map_lookup_elem(&llama_gsource, addr);
	}
	return src ? &src->tat_ns : NULL;
}

/* crowd_rate is of all that no source could be made for. */
static __always_inline __u64 *crowd_rate(void)
{
	struct llama_addr all = {};
	struct llama_source *src = bpf_map_lookup_elem(&llama_source, &all);

	return src ? &src->tat_ns : NULL;
}

/* within_rate tells whether the rate lets the packet be answered. */
static __always_inline enum llama_reason within_rate(const struct packet *p, const struct llama_config *c, __u64 *tat_ns)
{
	if (rate_allow(tat_ns, p->rx_ns, p->peer ? &c->peer_rate : &c->stranger_rate))
		return REASON_REPLIED;
	return p->peer ? REASON_RATE_PEER : REASON_RATE_STRANGER;
}

/* admit counts the request in its session, *s, which it makes if need be, and
 * tells whether it is to be answered: with *s NULL, without a session. */
static __always_inline enum llama_reason admit(const struct frame *f, const struct packet *p,
					       const struct llama_config *c, struct llama_key *key,
					       struct llama_source *src, struct llama_session **s)
{
	enum llama_reason r;
	__u64 *tat_ns;

	if (p->peer) {
		if (!src)
			src = source_make(p, &key->src);
		tat_ns = src ? &src->tat_ns : crowd_rate();
	} else {
		tat_ns = guest_rate(&key->src);
	}
	if (!tat_ns)
		return REASON_NO_LIMITER;
	if (!*s)
		*s = session_make(f, p, c, key, src);
	if (*s) {
		__sync_fetch_and_add(&(*s)->rx, 1);
		(*s)->seen_ns = p->rx_ns;
	}
	r = within_rate(p, c, tat_ns);
	if (r == REASON_REPLIED && *s)
		__sync_fetch_and_add(&(*s)->tx, 1);
	return r;
}
