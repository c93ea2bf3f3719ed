/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From the first octet to the UDP payload. Every function returns why the
 * packet is not looked at any further, or REASON_REPLIED. Nothing is written.
 */
#pragma once

#include "frame.h"
#include "maps.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#define MAX_VLANS 2
#define IP_NO_FRAGMENT_MASK bpf_htons(0xc000) /* reserved, DF */
#define IP_DF bpf_htons(0x4000)
#define IPV4_LEN 20
#define IPV6_LEN 40
#define UDP_LEN 8

#define LEAST_LEN (ETH_HLEN + IPV4_LEN + UDP_LEN)
#define HEADERS_LEN (ETH_HLEN + 4 * MAX_VLANS + IPV6_LEN + UDP_LEN)

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

/* What is known of a packet. Only scalars, and its address is never taken:
 * then the compiler keeps them in registers, and the verifier their ranges. */
struct packet {
	__u64 rx_ns; /* CLOCK_MONOTONIC: T2, or T4 */
	__u32 ifindex;
	__u32 gen;     /* of the configuration */
	__u32 slot;    /* of the interface's counters */
	__u32 l3, l4;  /* octets from the frame's start */
	__u32 payload; /* likewise */
	__u32 len;     /* octets of UDP payload */
	__u8 tos, ttl; /* as they arrived */
	bool v6;
	bool options; /* of IPv4: for the socket reflector */
	bool known;   /* came by an interface of ours, to a port of ours */
	bool peer;
	bool probe; /* of ours, or a reply to one */
	bool legacy; /* to the port of LLAMA's probes */
	__u64 found; /* what parse_pack made of it */
};

/* The headers' bit fields are in the order of the machine that compiles. */
static __always_inline __u8 first_octet(const void *header)
{
	return *(const __u8 *)header;
}

static __always_inline bool is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

static __always_inline enum llama_reason parse_ethernet(const struct frame *f, struct packet *p, __be16 *proto)
{
	struct ethhdr *eth = at(f, 0, sizeof(*eth));

	if (!eth)
		return REASON_TRUNCATED;
	*proto = eth->h_proto;
	p->l3 = sizeof(*eth);
#pragma unroll
	for (int i = 0; i < MAX_VLANS && is_vlan(*proto); i++) {
		struct vlan_tag *tag = at(f, p->l3, sizeof(*tag));

		if (!tag)
			return REASON_TRUNCATED;
		*proto = tag->proto;
		p->l3 += sizeof(*tag);
	}
	return is_vlan(*proto) ? REASON_VLAN_DEPTH : REASON_REPLIED;
}

/* The words of an IPv4 header without options add up to 0xffff. */
static __always_inline __u16 ipv4_sum(const struct iphdr *ip)
{
	const __u32 *w = (const void *)ip;
	__u64 sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline bool is_reflector_port(const struct llama_config *c, __be16 port)
{
	if (!(c->ports_filter >> (bpf_ntohs(port) & 63) & 1) || !port)
		return false;
	for (int i = 0; i < LLAMA_MAX_PORTS; i++)
		if (c->ports[i] == port)
			return true;
	return false;
}

static __always_inline bool is_probe_port(const struct llama_config *c, __be16 port)
{
	__u16 p = bpf_ntohs(port);

	return c->probes_first <= p && p <= c->probes_last && p;
}

/* parse_udp ends the parsing of either family. Most packets are of others: they
 * leave at the port, before anything else is looked at. */
static __always_inline enum llama_reason parse_udp(enum llama_kind kind, const struct frame *f, struct packet *p,
						   const struct llama_config *c, __u32 *udp_len)
{
	struct udphdr *udp = at(f, p->l4, sizeof(*udp));

	if (!udp)
		return REASON_TRUNCATED;
	p->probe = is_probe_port(c, kind == KIND_EGRESS ? udp->source : udp->dest);
	if (!p->probe && (kind == KIND_EGRESS || !is_reflector_port(c, udp->dest)))
		return REASON_OTHER_PORT;
	p->legacy = !p->probe && udp->dest == c->legacy_port;
	*udp_len = bpf_ntohs(udp->len);
	return *udp_len < UDP_LEN ? REASON_UDP_LENGTH : REASON_REPLIED;
}

static __always_inline enum llama_reason parse_ipv4(void *ctx, enum llama_kind kind, const struct frame *f,
						    struct packet *p, const struct llama_config *c)
{
	struct iphdr *ip = at(f, p->l3, sizeof(*ip));
	__u32 header, total, udp_len;
	enum llama_reason r;

	if (!ip)
		return REASON_TRUNCATED;
	header = (first_octet(ip) & 0xf) * 4;
	if (first_octet(ip) >> 4 != 4 || header < IPV4_LEN)
		return REASON_IP_HEADER;
	if (ip->protocol != IPPROTO_UDP)
		return REASON_NOT_UDP;
	if (ip->frag_off & ~IP_NO_FRAGMENT_MASK)
		return REASON_FRAGMENT;
	p->options = header > IPV4_LEN;
	p->l4 = p->l3 + IPV4_LEN;
	if (p->options)
		p->l4 = p->l3 + header;
	r = parse_udp(kind, f, p, c, &udp_len);
	if (r != REASON_REPLIED)
		return r;
	total = bpf_ntohs(ip->tot_len);
	if (p->l3 + total > linear_len(f) && p->l3 + total > frame_len(ctx, kind, f))
		return REASON_IP_HEADER;
	if (!p->options && ipv4_sum(ip) != 0xffff)
		return REASON_IP_CHECKSUM;
	if (total != header + udp_len)
		return REASON_UDP_LENGTH;
	p->len = udp_len - UDP_LEN;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	return REASON_REPLIED;
}

static __always_inline bool is_extension(__u8 next)
{
	switch (next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
		return true;
	}
	return false;
}

static __always_inline enum llama_reason parse_ipv6(void *ctx, enum llama_kind kind, const struct frame *f,
						    struct packet *p, const struct llama_config *c)
{
	struct ipv6hdr *ip = at(f, p->l3, sizeof(*ip));
	__u32 payload, udp_len, total;
	enum llama_reason r;
	struct udphdr *udp;

	if (!ip)
		return REASON_TRUNCATED;
	if (first_octet(ip) >> 4 != 6)
		return REASON_IP_HEADER;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return REASON_FRAGMENT;
	if (is_extension(ip->nexthdr))
		return REASON_IPV6_EXTENSION;
	if (ip->nexthdr != IPPROTO_UDP)
		return REASON_NOT_UDP;
	p->v6 = true;
	p->l4 = p->l3 + IPV6_LEN;
	r = parse_udp(kind, f, p, c, &udp_len);
	if (r != REASON_REPLIED)
		return r;
	payload = bpf_ntohs(ip->payload_len);
	total = p->l4 + payload;
	if (total > linear_len(f) && total > frame_len(ctx, kind, f))
		return REASON_IP_HEADER;
	if (payload != udp_len)
		return REASON_UDP_LENGTH;
	udp = at(f, p->l4, sizeof(*udp));
	/* At egress it may be left to the device, and what is there by then be 0. */
	if (!udp || (!udp->check && kind != KIND_EGRESS))
		return REASON_UDP_NO_CHECKSUM;
	p->len = udp_len - UDP_LEN;
	p->tos = first_octet(ip) << 4 | ip->flow_lbl[0] >> 4;
	p->ttl = ip->hop_limit;
	return REASON_REPLIED;
}

static __always_inline enum llama_reason parse_frame(void *ctx, enum llama_kind kind, struct packet *p)
{
	__u32 zero = 0;
	struct llama_config *c = bpf_map_lookup_elem(&llama_config, &zero);
	enum llama_reason r;
	struct frame f;
	__be16 proto;

	if (!c)
		return REASON_DISARMED;
	frame_load(ctx, kind, &f);
	if (linear_len(&f) < LEAST_LEN)
		pull(ctx, kind, &f, HEADERS_LEN);
	r = parse_ethernet(&f, p, &proto);
	if (r != REASON_REPLIED)
		return r;
	if (proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(ctx, kind, &f, p, c);
	if (proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(ctx, kind, &f, p, c);
	return REASON_NOT_IP;
}

/* What parse found, in a word, from the lowest bit: reason(8) l3(8) l4(8) TOS(8)
 * TTL(8) len(16) IPv6(1) options(1) probe(1) legacy(1). */
static __always_inline __u64 parse_pack(void *ctx, enum llama_kind kind)
{
	struct packet p = {};
	__u64 reason = parse_frame(ctx, kind, &p);

	return reason | p.l3 << 8 | p.l4 << 16 | (__u64)p.tos << 24 | (__u64)p.ttl << 32 | (__u64)p.len << 40 |
	       (__u64)p.v6 << 56 | (__u64)p.options << 57 | (__u64)p.probe << 58 | (__u64)p.legacy << 59;
}

static __always_inline enum llama_reason parse_unpack(__u64 found, struct packet *p)
{
	p->found = found;
	p->l3 = found >> 8 & 0xff;
	p->l4 = found >> 16 & 0xff;
	p->payload = p->l4 + UDP_LEN;
	p->tos = found >> 24;
	p->ttl = found >> 32;
	p->len = found >> 40 & 0xffff;
	p->v6 = found >> 56 & 1;
	p->options = found >> 57 & 1;
	p->probe = found >> 58 & 1;
	p->legacy = found >> 59 & 1;
	return found & 0xff;
}

/* These are not static, so that the verifier looks at them once, and at what comes
 * after not once for each way through the headers. */
__attribute__((noinline)) __u64 xdp_parse(struct xdp_md *ctx)
{
	return parse_pack(ctx, KIND_NATIVE);
}

__attribute__((noinline)) __u64 tc_parse(struct __sk_buff *ctx)
{
	return parse_pack(ctx, KIND_TC);
}

__attribute__((noinline)) __u64 egress_parse(struct __sk_buff *ctx)
{
	return parse_pack(ctx, KIND_EGRESS);
}

static __always_inline enum llama_reason parse(void *ctx, enum llama_kind kind, struct packet *p)
{
	if (kind == KIND_EGRESS)
		return parse_unpack(egress_parse(ctx), p);
	return parse_unpack(kind == KIND_TC ? tc_parse(ctx) : xdp_parse(ctx), p);
}
