/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Internet checksums (RFC 1071, RFC 1624). Sums are of 32-bit words as they lie
 * in memory, in 64 bits: no carry is lost before fold16. Swapping addresses or
 * ports changes no sum.
 */
#pragma once

#include "parse.h"

/* sum_replace adds what changes in a sum when the word becomes another. */
static __always_inline __u64 sum_replace(__u64 sum, __u32 was, __u32 is)
{
	return sum + (__u32)~was + is;
}

static __always_inline __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 fold16(__u64 sum)
{
	sum = fold32(sum);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* sum_odd is a sum of words that began at an odd octet (RFC 1071, 2 (B)). */
static __always_inline __u64 sum_odd(__u64 sum)
{
	return __builtin_bswap16(fold16(sum));
}

/* udp_check_add adds sum to the checksum. It stays "none" where it was that,
 * which IPv4 may have, and never becomes it. */
static __always_inline __u16 udp_check_add(__u16 check, __u64 sum)
{
	__u16 is = ~fold16(sum + (__u16)~check);

	return is ? is : 0xffff;
}

/* pseudo_sum is of the pseudo-header (RFC 768; RFC 8200, 8.1). */
static __always_inline __u64 pseudo_sum(const struct frame *f, const struct packet *p)
{
	__u64 sum = bpf_htons(IPPROTO_UDP) + (__u64)bpf_htons(p->len + UDP_LEN);
	const __u32 *w;

	if (p->v6) {
		const struct ipv6hdr *ip = at(f, p->l3, sizeof(*ip));

		if (!ip)
			return 0;
		w = (const void *)&ip->saddr;
		return sum + w[0] + w[1] + w[2] + w[3] + w[4] + w[5] + w[6] + w[7];
	} else {
		const struct iphdr *ip = at(f, p->l3, sizeof(*ip));

		if (!ip)
			return 0;
		w = (const void *)&ip->saddr;
		return sum + w[0] + w[1];
	}
}

#define CHUNK 512
#define CHUNKS 18 /* less than 9,216 octets: what an MTU of 9,000 needs */

/* Key: 0. Value: octets that are not linear, for as long as they are added up.
 * Written by: the programs, each CPU its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[CHUNK]);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} llama_scratch SEC(".maps");

/* part returns n octets from offset off, wherever they are, or NULL. */
static __always_inline void *part(void *ctx, enum llama_kind kind, const struct frame *f, __u64 off, __u32 n)
{
	__u32 zero = 0;
	void *linear, *copy;

	opaque(off);
	if (off > LINEAR_MAX)
		return NULL;
	linear = at(f, off, n);
	if (linear || (kind != KIND_TC && !llama_frags))
		return linear;
	copy = bpf_map_lookup_elem(&llama_scratch, &zero);
	if (!copy || (kind == KIND_TC ? bpf_skb_load_bytes(ctx, off, copy, n) : bpf_xdp_load_bytes(ctx, off, copy, n)))
		return NULL;
	return copy;
}

/* Of our own probes: base, Class of Service, Direct Measurement. Most are such. */
#define PROBE_LEN (UDP_LEN + 68)

#define PROBE_WORDS (PROBE_LEN / 4)

/* probe_sum adds up such a datagram, sooner than a helper would be called. */
static __always_inline __u64 probe_sum(const __u32 *w)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < PROBE_WORDS; i++)
		sum += w[i];
	return sum;
}

#define NO_SUM (~0ULL)

/* udp_sum adds up a UDP datagram of len octets, its checksum field included. The
 * tails are powers of two, and each one's offset is made of the length alone, or
 * the verifier would walk every combination of them. */
static __always_inline __u64 udp_sum(void *ctx, enum llama_kind kind, __u32 l4, __u32 len)
{
	struct frame f;
	__u64 sum = 0;
	void *p;

	frame_load(ctx, kind, &f);
	l4 &= 0xff; /* more than that it never is */
	opaque(l4);
	if (len >= CHUNK * CHUNKS)
		return NO_SUM;
	for (__u32 i = 0; i < CHUNKS - 1; i++) {
		if ((i + 1) * CHUNK > len)
			break;
		p = part(ctx, kind, &f, l4 + i * CHUNK, CHUNK);
		if (!p)
			return NO_SUM;
		sum += (__u32)bpf_csum_diff(NULL, 0, p, CHUNK, 0);
	}
#pragma unroll
	for (__u32 n = CHUNK / 2; n; n /= 2) {
		if (!(len & n))
			continue;
		p = part(ctx, kind, &f, l4 + (len & ~(2 * n - 1)), n);
		if (!p)
			return NO_SUM;
		if (n >= 4)
			sum += (__u32)bpf_csum_diff(NULL, 0, p, n, 0);
		else
			sum += n == 2 ? *(__u16 *)p : bpf_htons(*(__u8 *)p << 8);
	}
	return sum;
}

/* These are not static, so that the verifier looks at them once, not at each call. */
__attribute__((noinline)) __u64 xdp_udp_sum(struct xdp_md *ctx, __u32 l4, __u32 len)
{
	return udp_sum(ctx, KIND_NATIVE, l4, len);
}

__attribute__((noinline)) __u64 tc_udp_sum(struct __sk_buff *ctx, __u32 l4, __u32 len)
{
	return udp_sum(ctx, KIND_TC, l4, len);
}

/* What has to be done about the checksum of a UDP datagram. */
struct udp_check {
	__u16 was;
	bool leave; /* as it is: none, or the device that sends it makes it whole */
};

/* udp_check_read verifies the checksum: what was corrupted on the way must not
 * count as received. A sender on this host may have left it to its device: then
 * the field has the folded sum of the pseudo-header only, which stays right when
 * addresses and ports are swapped. An sk_buff remembers to complete it; native
 * XDP makes a new packet, so there it is completed here, as if the request had
 * come so. A checksum that is whole may be equal to that sum by chance. */
static __always_inline enum llama_reason udp_check_read(void *ctx, enum llama_kind kind, const struct frame *f,
							const struct packet *p, struct udp_check *check)
{
	struct udphdr *udp = at(f, p->l4, sizeof(*udp));
	__u64 pseudo = pseudo_sum(f, p), sum;
	const __u32 *words;
	__u32 len = p->len + UDP_LEN;

	if (!udp)
		return REASON_TRUNCATED;
	check->was = udp->check;
	check->leave = !udp->check;
	if (!udp->check)
		return REASON_REPLIED;
	words = len == PROBE_LEN ? at(f, p->l4, PROBE_LEN) : NULL;
	if (words)
		sum = probe_sum(words);
	else
		sum = kind == KIND_TC ? tc_udp_sum(ctx, p->l4, len) : xdp_udp_sum(ctx, p->l4, len);
	if (sum == NO_SUM)
		return REASON_UDP_LONG;
	sum += pseudo;
	if (fold16(sum) == 0xffff)
		return REASON_REPLIED;
	if (check->was != fold16(pseudo))
		return REASON_UDP_CHECKSUM;
	if (kind == KIND_NATIVE)
		check->was = udp_check_add(0xffff, sum + (__u16)~check->was);
	else
		check->leave = true;
	return REASON_REPLIED;
}
