/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a request to its reply, in place and of the same length:
 *
 *	 0 Sequence Number            4      24 Session-Sender Sequence   4
 *	 4 Timestamp T3               8      28 Session-Sender Timestamp  8
 *	12 Error Estimate, SSID     2+2      36 Error Estimate, MBZ     2+2
 *	16 Receive Timestamp T2       8      40 Session-Sender TTL, MBZ 1+3
 *	44 TLVs …
 */
#pragma once

#include "session.h"
#include "time.h"
#include "tlv.h"

#define BASE_WORDS (BASE_LEN / 4)

static __always_inline bool is_super_packet(void *ctx, enum llama_kind kind)
{
	return kind == KIND_TC && ((struct __sk_buff *)ctx)->gso_size;
}

/* probe_words returns the payload of a packet that is like our own probes, or NULL. */
static __always_inline __be32 *probe_words(const struct frame *f, const struct packet *p)
{
	__be32 *w = p->len == PROBE_LEN - UDP_LEN ? at(f, p->payload, PROBE_LEN - UDP_LEN) : NULL;

	return w && is_probe_tlvs(w) ? w : NULL;
}

/* What of the packet is for the socket reflector, whatever its session. The
 * checksum comes first: what is wrong says nothing about its session. */
static __always_inline enum llama_reason understand(void *ctx, enum llama_kind kind, const struct frame *f,
						    const struct packet *p, struct udp_check *check)
{
	enum llama_reason r;

	if (is_super_packet(ctx, kind))
		return REASON_SUPER_PACKET;
	if (p->options)
		return REASON_IP_OPTIONS;
	r = udp_check_read(ctx, kind, f, p, check);
	if (r != REASON_REPLIED)
		return r;
	if (p->len < BASE_LEN)
		return REASON_TWAMP_LIGHT;
	if (p->len == BASE_LEN || probe_words(f, p))
		return REASON_REPLIED;
	return kind == KIND_TC ? tc_tlvs_check(ctx, p->payload, p->len) : xdp_tlvs_check(ctx, p->payload, p->len);
}

/* swap_ethernet goes by words: struct ethhdr is packed, of which clang makes octets. */
static __always_inline void swap_ethernet(void *eth)
{
	__u32 *dst = eth, *src = eth + ETH_ALEN, w = *dst;
	__u16 *dst_end = eth + 4, *src_end = eth + ETH_ALEN + 4, h = *dst_end;

	*dst = *src;
	*dst_end = *src_end;
	*src = w;
	*src_end = h;
}

/* DF is set as on the socket reflector's replies: a probe of a size that does
 * not fit the way back is a finding. */
static __always_inline bool write_ipv4(const struct frame *f, const struct packet *p, __u8 tos)
{
	struct iphdr *ip = at(f, p->l3, sizeof(*ip));
	__be16 version_tos = bpf_htons(0x4500 | tos), ttl_protocol = bpf_htons(255 << 8 | IPPROTO_UDP), *h = (void *)ip;
	__be32 addr;

	if (!ip)
		return false;
	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	ip->check = ~fold16((__u64)(__u16)~ip->check + (__u16)~h[0] + version_tos + (__u16)~h[3] + IP_DF +
			    (__u16)~h[4] + ttl_protocol);
	h[0] = version_tos;
	h[3] = IP_DF;
	h[4] = ttl_protocol;
	return true;
}

static __always_inline bool write_ipv6(const struct frame *f, const struct packet *p, __u8 tos)
{
	struct ipv6hdr *ip = at(f, p->l3, sizeof(*ip));
	struct in6_addr addr;

	if (!ip)
		return false;
	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	*(__u8 *)ip = 6 << 4 | tos >> 4;
	ip->flow_lbl[0] = (ip->flow_lbl[0] & 0x0f) | tos << 4;
	ip->hop_limit = 255;
	return true;
}

/* turn sends the packet back where it came from. False: half of that is done. */
static __always_inline bool turn(const struct frame *f, const struct packet *p, struct ethhdr *eth, struct udphdr *udp,
				 __u8 tos)
{
	__be16 port;

	swap_ethernet(eth);
	if (!(p->v6 ? write_ipv6(f, p, tos) : write_ipv4(f, p, tos)))
		return false;
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	return true;
}

/* write_base writes all but T3, and returns how the sum changes: T3 counts as
 * zeroes. */
static __always_inline __u64 write_base(__be32 *w, const struct packet *p, const struct wire_clock *clock,
					struct wire_stamp t2, const struct llama_session *s, __u32 tx)
{
	__be32 is[BASE_WORDS] = {};
	__u64 sum = 0;

	is[0] = s ? bpf_htonl(tx - 1) : w[0];
	is[3] = bpf_htonl((__u32)bpf_ntohs(clock->error_estimate) << 16) | (w[3] & bpf_htonl(0xffff));
	is[4] = t2.sec;
	is[5] = t2.frac;
	is[6] = w[0];
	is[7] = w[1];
	is[8] = w[2];
	is[9] = w[3] & bpf_htonl(0xffff0000);
	is[10] = bpf_htonl((__u32)p->ttl << 24);
#pragma unroll
	for (int i = 0; i < BASE_WORDS; i++)
		sum = sum_replace(sum, w[i], is[i]);
#pragma unroll
	for (int i = 0; i < BASE_WORDS; i++)
		w[i] = is[i];
	return sum;
}

/* write_t3 comes last, and the checksum after it: that lies outside T3-T2. */
static __always_inline enum llama_reason write_t3(void *ctx, enum llama_kind kind, const struct packet *p,
						  const struct wire_clock *clock, struct wire_moment t2,
						  const struct udp_check *check, struct udphdr *udp, __be32 *w,
						  __u64 sum)
{
	struct wire_stamp t3 = wire_stamp(clock, moment_later(t2, bpf_ktime_get_ns() - p->rx_ns));

	w[1] = t3.sec;
	w[2] = t3.frac;
	sum += (__u64)t3.sec + t3.frac;
	if (kind == KIND_TC)
		return bpf_l4_csum_replace(ctx, p->l4 + offsetof(struct udphdr, check), 0, fold32(sum),
					   BPF_F_MARK_MANGLED_0) ?
			       REASON_WRITE_FAILED :
			       REASON_REPLIED;
	if (!check->leave)
		udp->check = udp_check_add(check->was, sum);
	return REASON_REPLIED;
}

/* write_tlvs answers the TLVs and says what they have changed. */
static __always_inline bool write_tlvs(void *ctx, enum llama_kind kind, const struct frame *f, const struct packet *p,
				       const struct llama_session *s, __u64 counters, __u64 deny_dscp, __u8 *dscp,
				       __u64 *sum)
{
	__be32 *w = probe_words(f, p);
	__u64 where = p->payload | (__u64)p->len << 16 | (__u64)p->tos << 32 | (__u64)!s << 40, done;

	if (p->len == BASE_LEN)
		return true;
	if (w) {
		struct tlv_answer a = {
			.deny_dscp = deny_dscp, .rx = counters, .tx = counters >> 32, .tos = p->tos, .dscp = *dscp, .stateless = !s,
		};

		probe_tlvs_answer(w, &a);
		*dscp = a.dscp;
		*sum += a.sum;
		return true;
	}
	done = kind == KIND_TC ? tc_tlvs_answer(ctx, where, counters, deny_dscp) :
				 xdp_tlvs_answer(ctx, where, counters, deny_dscp);
	*dscp = done >> 16;
	*sum += done & 0xffff;
	return done != TLVS_FAILED;
}

static __always_inline enum llama_reason rewrite(void *ctx, enum llama_kind kind, const struct frame *f,
						 const struct packet *p, const struct udp_check *check,
						 const struct wire_clock *clock, const struct llama_session *s,
						 __u64 deny_dscp)
{
	struct ethhdr *eth = at(f, 0, sizeof(*eth));
	struct udphdr *udp = at(f, p->l4, UDP_LEN + BASE_LEN);
	struct wire_moment t2 = wire_moment(clock, p->rx_ns);
	__u32 *w = (void *)(udp + 1), rx = 0, tx = 0;
	__u8 dscp = p->tos >> 2;
	__u64 sum;

	if (!eth || !udp)
		return REASON_WRITE_FAILED;
	if (s) {
		rx = s->rx;
		tx = s->tx;
	}
	/* From here on the packet is neither request nor reply: nobody may have it
	 * if something fails, and no reason of the action PASS may be returned. */
	sum = write_base(w, p, clock, wire_stamp(clock, t2), s, tx);
	if (!write_tlvs(ctx, kind, f, p, s, rx | (__u64)tx << 32, deny_dscp, &dscp, &sum))
		return REASON_WRITE_FAILED;
	if (!turn(f, p, eth, udp, dscp << 2))
		return REASON_WRITE_FAILED;
	return write_t3(ctx, kind, p, clock, t2, check, udp, w, sum);
}

/* guard finds source and session, if there are any, and says whether the packet may
 * be answered. A peer's source remembers that it is one, which spares a search for
 * its prefix; the session, that its packets are for this host, which costs as much as
 * all the rest. */
static __always_inline enum llama_reason guard(const struct frame *f, struct packet *p, const struct llama_config *c,
					       struct llama_key *key, struct llama_source **src,
					       struct llama_session **s)
{
	__u32 bits = VERDICT_ALLOWED | VERDICT_PEER;
	enum llama_reason r;

	if (!key_fill(f, p, key))
		return REASON_TRUNCATED;
	*src = bpf_map_lookup_elem(&llama_source, &key->src);
	if (!*src || (*src)->gen != p->gen) {
		bits = verdict(p, key);
		if (*src && bits == (VERDICT_ALLOWED | VERDICT_PEER))
			(*src)->gen = p->gen;
	}
	p->peer = bits & VERDICT_PEER;
	if (bits & VERDICT_ALLOWED)
		*s = session_find(p, key);
	if (!*s || !guarded(f, p, *s)) {
		r = guard_host(f, p, key, bits & VERDICT_ALLOWED);
		if (r != REASON_REPLIED)
			return r;
		if (*s)
			guard_remember(f, p, *s);
	}
	return guard_request(f, p, c, key, bits);
}

static __always_inline enum llama_reason answer(void *ctx, enum llama_kind kind, const struct frame *f,
						struct packet *p, const struct llama_config *c,
						const struct llama_lease *lease, struct llama_key *key)
{
	struct llama_source *src = NULL;
	struct llama_session *s = NULL;
	struct udp_check check = {};
	struct wire_clock clock;
	enum llama_reason r = guard(f, p, c, key, &src, &s);

	if (r == REASON_KEYED && s)
		/* None is made for it: a forged packet must take no one's place. */
		session_up(f, p, c, key, src, s);
	if (r != REASON_REPLIED)
		return r;
	if (s && s->flags & SESSION_UP)
		r = REASON_SESSION_UP;
	else
		r = understand(ctx, kind, f, p, &check);
	if (r == REASON_UDP_CHECKSUM)
		return r;
	if (r != REASON_REPLIED) {
		session_up(f, p, c, key, src, s);
		return r;
	}
	r = admit(f, p, c, key, src, &s);
	if (r != REASON_REPLIED)
		return r;
	clock_read(lease, &clock);
	r = rewrite(ctx, kind, f, p, &check, &clock, s, c->deny_dscp);
	if (r == REASON_REPLIED)
		return s ? REASON_REPLIED : REASON_STATELESS;
	if (s) /* its number is used again */
		__sync_fetch_and_add(&s->tx, -1);
	return r;
}
