/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The probes of Dropbox's LLAMA (2019), which its reflectors return octet for
 * octet. They are a protobuf; its collectors send this form of it:
 *
 *	 0 0a 0a  signature 10
 *	12 12 01  ToS        1   that the reply is to have
 *	15 18     sent       9   a varint, ns since 1970
 *	25 3a e8 07  padding 1000
 *
 * Every other form is for the socket reflector. A reply is a request to whoever gets
 * it, so no port is excepted that a reflector might have.
 */
#pragma once

#include "reflect.h"

#define LEGACY_LEN 1028
#define LEGACY_HEAD_LEN 28
#define LEGACY_TOS 14

static __always_inline bool is_legacy_form(const __u8 *b)
{
	bool varint = !(b[24] >> 7); /* of nine octets: of a clock between 1972 and 2262 */

#pragma unroll
	for (int i = 16; i < 24; i++)
		varint &= b[i] >> 7;
	return varint && b[0] == 0x0a && b[1] == 10 && b[12] == 0x12 && b[13] == 1 && b[15] == 0x18 && b[25] == 0x3a &&
	       b[26] == 0xe8 && b[27] == 0x07;
}

static __always_inline enum llama_reason legacy_guard(const struct frame *f, struct packet *p,
						      const struct llama_config *c, struct llama_key *key)
{
	enum llama_reason r;
	__u32 bits;

	if (!key_fill(f, p, key))
		return REASON_TRUNCATED;
	bits = verdict(p, key);
	p->peer = bits & VERDICT_PEER;
	r = guard_host(f, p, key, bits & VERDICT_ALLOWED);
	if (r != REASON_REPLIED)
		return r;
	if (is_refused_port(c, key->sport))
		return REASON_PORT_REFLECTOR;
	if (bpf_ntohs(key->sport) < FIRST_USER_PORT)
		return REASON_PORT_LOW;
	if (!(bits & VERDICT_ALLOWED))
		return REASON_NOT_ALLOWED;
	return bits & VERDICT_KEYED ? REASON_KEYED : REASON_REPLIED;
}

/* legacy_tos is what the probe asks for, if it may. */
static __always_inline __u8 legacy_tos(const struct packet *p, const struct llama_config *c, __u8 wanted)
{
	return c->deny_dscp >> (wanted >> 2) & 1 ? p->tos & ~3 : wanted;
}

/* A peer that there is no room for has the socket reflector to limit it. */
static __always_inline enum llama_reason legacy_rate(struct packet *p, const struct llama_config *c, struct llama_addr *addr)
{
	struct llama_source *src;
	__u64 *tat_ns;

	p->rx_ns = bpf_ktime_get_ns();
	p->gen = c->gen;
	if (p->peer) {
		src = bpf_map_lookup_elem(&llama_source, addr);
		if (!src)
			src = source_make(p, addr);
		tat_ns = src ? &src->tat_ns : NULL;
	} else {
		tat_ns = guest_rate(addr);
	}
	return tat_ns ? within_rate(p, c, tat_ns) : REASON_NO_LIMITER;
}

/* legacy_judge says whether the probe is to be answered, and with which ToS. */
static __always_inline enum llama_reason legacy_judge(void *ctx, enum llama_kind kind, struct packet *p, __u8 *tos)
{
	__u32 zero = 0;
	struct llama_config *c = bpf_map_lookup_elem(&llama_config, &zero);
	struct llama_key key = {};
	enum llama_reason r;
	struct frame f;
	__u8 *b;

	if (!c)
		return REASON_DISARMED;
	frame_load(ctx, kind, &f);
	r = legacy_guard(&f, p, c, &key);
	if (r != REASON_REPLIED)
		return r;
	if (is_super_packet(ctx, kind))
		return REASON_SUPER_PACKET;
	if (p->options)
		return REASON_IP_OPTIONS;
	b = at(&f, p->payload, LEGACY_HEAD_LEN);
	if (p->len != LEGACY_LEN || !b || !is_legacy_form(b))
		return REASON_LEGACY_FORM;
	*tos = legacy_tos(p, c, b[LEGACY_TOS]);
	return legacy_rate(p, c, &key.src);
}

/* What is told of the packet, from the lowest bit: reason(8) known(8) ToS(8) slot(32). */
static __always_inline __u64 legacy_pack(void *ctx, enum llama_kind kind, __u32 ifindex, __u64 found)
{
	struct packet p = {.ifindex = ifindex};
	__u64 reason;
	__u8 tos = 0;

	parse_unpack(found, &p);
	reason = legacy_judge(ctx, kind, &p, &tos);
	return reason | (__u64)p.known << 8 | (__u64)tos << 16 | (__u64)p.slot << 24;
}

/* legacy_return sends the probe back as it is, once its checksum is found right. */
static __always_inline enum llama_reason legacy_return(void *ctx, enum llama_kind kind, __u64 found, __u8 tos)
{
	struct udp_check check = {};
	struct packet p = {};
	enum llama_reason r;
	struct ethhdr *eth;
	struct udphdr *udp;
	struct frame f;

	parse_unpack(found, &p);
	frame_load(ctx, kind, &f);
	r = udp_check_read(ctx, kind, &f, &p, &check);
	if (r != REASON_REPLIED)
		return r;
	eth = at(&f, 0, sizeof(*eth));
	udp = at(&f, p.l4, sizeof(*udp));
	if (!eth || !udp || !turn(&f, &p, eth, udp, tos))
		return REASON_WRITE_FAILED;
	if (!has_skb(kind) && !check.leave)
		udp->check = check.was; /* a sender on this host may have left it to be made whole */
	return REASON_LEGACY;
}

/* These are not static, so that the verifier looks at them apart from all the rest;
 * and there are two steps, since a stack holds no more. */
__attribute__((noinline)) __u64 xdp_legacy_judge(struct xdp_md *ctx, __u64 found)
{
	return legacy_pack(ctx, KIND_NATIVE, ctx->ingress_ifindex, found);
}

__attribute__((noinline)) __u64 tc_legacy_judge(struct __sk_buff *ctx, __u64 found)
{
	return legacy_pack(ctx, KIND_TC, ctx->ifindex, found);
}

__attribute__((noinline)) __u32 xdp_legacy_return(struct xdp_md *ctx, __u64 found, __u32 tos)
{
	return legacy_return(ctx, KIND_NATIVE, found, tos);
}

__attribute__((noinline)) __u32 skb_legacy_return(struct xdp_md *ctx, __u64 found, __u32 tos)
{
	return legacy_return(ctx, KIND_GENERIC, found, tos);
}

__attribute__((noinline)) __u32 tc_legacy_return(struct __sk_buff *ctx, __u64 found, __u32 tos)
{
	return legacy_return(ctx, KIND_TC, found, tos);
}

static __always_inline enum llama_reason legacy(void *ctx, enum llama_kind kind, struct packet *p)
{
	__u64 told = kind == KIND_TC ? tc_legacy_judge(ctx, p->found) : xdp_legacy_judge(ctx, p->found);

	p->known = told >> 8 & 1;
	p->slot = told >> 24;
	if ((told & 0xff) != REASON_REPLIED)
		return told & 0xff;
	if (kind == KIND_NATIVE)
		return xdp_legacy_return(ctx, p->found, told >> 16 & 0xff);
	return kind == KIND_TC ? tc_legacy_return(ctx, p->found, told >> 16 & 0xff) :
				 skb_legacy_return(ctx, p->found, told >> 16 & 0xff);
}
