/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Our own probes: T1 where they leave, T4 where their replies come in. A reply is
 * believed that has the number and the T1 of a probe in flight; all others pass,
 * and the socket that sent tells what is wrong with them.
 */
#pragma once

#include "csum.h"
#include "guard.h"

/* flow_find looks the flow up by its far end, its port here, and its SSID. */
static __always_inline struct llama_flow *flow_find(const struct llama_addr *far, __be16 far_port, __be16 port,
						    __be16 ssid)
{
	struct llama_flow_key key = {.dst = *far, .dport = far_port, .sport = port, .ssid = ssid};

	return bpf_map_lookup_elem(&llama_flow, &key);
}

static __always_inline struct llama_slot *slot_of(const struct llama_flow *flow, __u32 seq)
{
	__u32 at = flow->first + (seq & flow->mask);

	return bpf_map_lookup_elem(&llama_slot, &at);
}

/* leave notes T1 of a probe of ours. It runs for whatever leaves the host: the
 * ports come first, then whose socket it is. */
static __always_inline void leave(struct __sk_buff *ctx, const struct frame *f, struct packet *p)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct llama_key key = {};
	struct llama_flow *flow;
	struct llama_slot *slot;
	__be32 *w;

	if (!bpf_map_lookup_elem(&llama_socket, &cookie) || p->len < BASE_LEN || !key_fill(f, p, &key))
		return;
	w = at(f, p->payload, SSID_END);
	flow = flow_find(&key.dst, key.dport, key.sport, key.ssid);
	if (!w || !flow)
		return;
	slot = slot_of(flow, bpf_ntohl(w[0]));
	if (!slot)
		return;
	slot->t1_wire[0] = w[1];
	slot->t1_wire[1] = w[2];
	slot->seq = bpf_ntohl(w[0]);
	slot->state = SLOT_SENT;
	/* Last: the searches above cost microseconds where nothing of them is in a cache. */
	slot->t1_ns = bpf_ktime_get_ns();
}

/* capture takes the reply to a probe of ours. */
static __always_inline enum llama_reason capture(void *ctx, enum llama_kind kind, const struct frame *f, struct packet *p)
{
	struct udp_check check = {};
	struct llama_event *event;
	struct llama_key key = {};
	struct llama_flow *flow;
	struct llama_slot *slot;
	enum llama_reason r;
	__be32 *w, *whole;

	if (p->len < BASE_LEN)
		return REASON_SHORT;
	if (!key_fill(f, p, &key))
		return REASON_TRUNCATED;
	flow = flow_find(&key.src, key.sport, key.dport, key.ssid);
	if (!flow)
		return REASON_NO_FLOW;
	w = at(f, p->payload, BASE_LEN);
	if (!w)
		return REASON_TRUNCATED;
	slot = slot_of(flow, bpf_ntohl(w[6]));
	if (!slot || !slot->state || slot->seq != bpf_ntohl(w[6]) || slot->t1_wire[0] != w[7] || slot->t1_wire[1] != w[8])
		return REASON_NOT_IN_FLIGHT;
	r = udp_check_read(ctx, kind, f, p, &check);
	if (r != REASON_REPLIED)
		return r;
	event = bpf_ringbuf_reserve(&llama_replies, sizeof(*event), 0);
	if (!event) {
		slot->state |= SLOT_EVENT_LOST;
		return REASON_RING_FULL;
	}
	event->t1_ns = slot->t1_ns;
	event->t4_ns = p->rx_ns;
	event->row = flow->row;
	event->len = p->len;
	event->ttl = p->ttl;
	event->tos = p->tos;
	/* What is shorter is of a reflector that answers no TLVs. */
	whole = p->len < EVENT_REPLY_LEN ? NULL : at(f, p->payload, EVENT_REPLY_LEN);
	if (whole) {
		__builtin_memcpy(event->reply, whole, EVENT_REPLY_LEN);
	} else {
		__builtin_memcpy(event->reply, w, BASE_LEN);
		event->len = BASE_LEN;
	}
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return REASON_CAPTURED;
}
