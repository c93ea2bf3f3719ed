/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who is answered: only what is for this host, and what the socket reflector
 * would answer (pkg/reflector, guard). What that would refuse is dropped here,
 * what the host's stack has to judge is passed.
 */
#pragma once

#include "maps.h"
#include "parse.h"

#define BASE_LEN 44
#define MIN_LEN 14
#define SSID_END 16 /* octets up to the end of the SSID */

#define ROUTER_PORT 862
#define FIRST_USER_PORT 1024

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u32 *)a == *(__u32 *)b && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

static __always_inline enum llama_reason guard_mac(const struct frame *f, const struct llama_iface *iface)
{
	struct ethhdr *eth = at(f, 0, sizeof(*eth));

	if (!eth)
		return REASON_TRUNCATED;
	if (eth->h_source[0] & 1)
		return REASON_SOURCE_MAC;
#pragma unroll
	for (__u32 i = 0; i < LLAMA_MAX_MACS; i++)
		if (i < iface->nmacs && same_mac(iface->macs[i].octets, eth->h_dest))
			return REASON_REPLIED;
	return REASON_OTHER_MAC;
}

static __always_inline bool is_loopback4(__be32 a)
{
	return (a & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline bool is_loopback6(const __u32 *a)
{
	return !(a[0] | a[1] | a[2]) && a[3] == bpf_htonl(1);
}

static __always_inline bool is_mapped(const __u32 *a)
{
	return !(a[0] | a[1]) && a[2] == bpf_htonl(0xffff);
}

/* key_fill reads the session's key; false if it is not linear, which cannot be
 * after the parser, but the verifier does not know. The key is hashed by words:
 * written by words, it need not wait for halves to come together. */
static __always_inline bool key_fill(const struct frame *f, const struct packet *p, struct llama_key *key)
{
	__u32 *src = (void *)&key->src, *dst = (void *)&key->dst;
	struct udphdr *udp = at(f, p->l4, sizeof(*udp));
	bool link_local;
	__be32 *w;

	if (!udp)
		return false;
	*(__be32 *)&key->sport = *(__be32 *)&udp->source; /* both ports */
	if (p->v6) {
		struct ipv6hdr *ip = at(f, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(src, &ip->saddr, 16);
		__builtin_memcpy(dst, &ip->daddr, 16);
		link_local = (src[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000); /* fe80::/10 */
	} else {
		struct iphdr *ip = at(f, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		src[2] = dst[2] = bpf_htonl(0xffff);
		src[3] = ip->saddr;
		dst[3] = ip->daddr;
		link_local = (src[3] & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000); /* 169.254/16 */
	}
	if (link_local)
		key->ifindex = p->ifindex;
	if (p->len < SSID_END)
		return true;
	w = at(f, p->payload, SSID_END);
	if (!w)
		return false;
	*(__be32 *)&key->pad = w[3] & bpf_htonl(0xffff); /* and the SSID */
	return true;
}

static __always_inline bool is_unicast4(__be32 src, __be32 dst, bool lo)
{
	return (src & bpf_htonl(0xff000000)) != 0 &&                         /* 0/8 */
	       (src & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000) &&     /* multicast */
	       src != 0xffffffff && (lo || (!is_loopback4(src) && !is_loopback4(dst)));
}

/* No host may send mapped addresses: their key would be IPv4's. */
static __always_inline bool is_unicast6(const __u32 *src, const __u32 *dst, bool lo)
{
	return *(__u8 *)src != 0xff && (src[0] | src[1] | src[2] | src[3]) && !is_mapped(src) && !is_mapped(dst) &&
	       (lo || (!is_loopback6(src) && !is_loopback6(dst)));
}

/* guard_host lets through what is for this host. Whether its source is ours is not
 * asked of one that is dropped in any case: a flood shall cost as little as can be. */
static __always_inline enum llama_reason guard_host(const struct frame *f, struct packet *p, struct llama_key *key,
						    bool allowed)
{
	const __u32 *src = (void *)&key->src, *dst = (void *)&key->dst;
	__u32 ifindex = p->ifindex, *flags;
	struct llama_iface *iface = bpf_map_lookup_elem(&llama_iface, &ifindex);
	enum llama_reason r;
	bool lo;

	if (!iface)
		return REASON_OTHER_INTERFACE;
	p->known = true;
	p->slot = iface->slot;
	lo = iface->flags & IFACE_LOOPBACK;
	r = guard_mac(f, iface);
	if (r != REASON_REPLIED)
		return r;
	if (!(p->v6 ? is_unicast6(src, dst, lo) : is_unicast4(src[3], dst[3], lo)))
		return REASON_NOT_UNICAST;
	flags = bpf_map_lookup_elem(&llama_local, &key->dst);
	if (!flags || !(*flags & LOCAL_UNICAST))
		return REASON_OTHER_ADDRESS;
	if (lo || !allowed)
		return REASON_REPLIED;
	return bpf_map_lookup_elem(&llama_local, &key->src) ? REASON_SOURCE_OURS : REASON_REPLIED;
}

/* guarded tells whether guard_host has let in a packet of the session that was
 * like this one, and nothing has changed since. */
static __always_inline bool guarded(const struct frame *f, struct packet *p, const struct llama_session *s)
{
	struct ethhdr *eth = at(f, 0, sizeof(*eth));

	if (!eth || s->gen != p->gen || s->ifindex != p->ifindex || eth->h_source[0] & 1 ||
	    !same_mac(s->mac.octets, eth->h_dest))
		return false;
	p->known = true;
	p->slot = s->slot;
	return true;
}

static __always_inline void guard_remember(const struct frame *f, const struct packet *p, struct llama_session *s)
{
	struct ethhdr *eth = at(f, 0, sizeof(*eth));

	if (!eth)
		return;
	__builtin_memcpy(s->mac.octets, eth->h_dest, ETH_ALEN);
	s->ifindex = p->ifindex;
	s->slot = p->slot;
	s->gen = p->gen;
}

static __always_inline bool is_refused_port(const struct llama_config *c, __be16 port)
{
	if (!(c->refused_filter >> (bpf_ntohs(port) & 63) & 1) || !port)
		return false;
	for (__u32 i = 0; i < LLAMA_MAX_REFUSED; i++)
		if (c->refused[i] == port)
			return true;
	return false;
}

/* Two reflectors must never answer each other, nor a service be made to answer
 * what a forged source has us send to it. */
static __always_inline enum llama_reason guard_port(const struct llama_config *c, __be16 port)
{
	if (port == bpf_htons(ROUTER_PORT) && c->allow_862)
		return REASON_REPLIED;
	if (is_refused_port(c, port))
		return REASON_PORT_REFLECTOR;
	return bpf_ntohs(port) < FIRST_USER_PORT ? REASON_PORT_LOW : REASON_REPLIED;
}

static __always_inline __u32 verdict(const struct packet *p, const struct llama_key *key)
{
	__u32 *bits;

	if (p->v6) {
		struct llama_lpm6 lpm = {.prefixlen = 128};

		__builtin_memcpy(lpm.octets, &key->src, 16);
		bits = bpf_map_lookup_elem(&llama_allow6, &lpm);
		apart("IPv6");
	} else {
		struct llama_lpm4 lpm = {.prefixlen = 32};

		__builtin_memcpy(lpm.octets, key->src.octets + 12, 4);
		bits = bpf_map_lookup_elem(&llama_allow4, &lpm);
		apart("IPv4");
	}
	return bits ? *bits : 0;
}

/* A Session-Reflector's packet has a Receive Timestamp and the sender's TTL
 * where a request has zeroes, and zeroes around them. */
static __always_inline bool looks_like_reply(const __u32 *w)
{
	return (w[4] | w[5]) && !(w[9] & bpf_htonl(0xffff)) &&
	       !(w[10] & bpf_htonl(0x00ffffff)) && w[10];
}

/* has_key tells whether the packet may have to authenticate. Its SSID is looked
 * for where either mode has it, as the socket reflector does. */
static __always_inline bool has_key(const struct llama_config *c, __u32 bits, __be16 ssid, __be16 auth_ssid)
{
	if (bits & VERDICT_KEYED)
		return true;
	return c->keyed && (bpf_map_lookup_elem(&llama_keyed, &ssid) || bpf_map_lookup_elem(&llama_keyed, &auth_ssid));
}

/* guard_request has the socket reflector's checks in their order. */
static __always_inline enum llama_reason guard_request(const struct frame *f, const struct packet *p,
						       const struct llama_config *c, const struct llama_key *key,
						       __u32 bits)
{
	__be16 auth_ssid = 0;
	enum llama_reason r;
	__u32 *w;

	if (p->len < c->min_len || p->len < MIN_LEN)
		return REASON_SHORT;
	r = guard_port(c, key->sport);
	if (r != REASON_REPLIED)
		return r;
	if (!(bits & VERDICT_ALLOWED))
		return REASON_NOT_ALLOWED;
	if (p->len >= BASE_LEN) {
		w = at(f, p->payload, BASE_LEN);
		if (!w)
			return REASON_TRUNCATED;
		if (looks_like_reply(w))
			return REASON_LOOKS_LIKE_REPLY;
		auth_ssid = ((__be16 *)w)[13];
	}
	return has_key(c, bits, key->ssid, auth_ssid) ? REASON_KEYED : REASON_REPLIED;
}
