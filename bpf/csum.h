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

/* tail returns the n octets (a power of two) of a datagram of len that follow
 * the part which is a multiple of 2n, or NULL. The offset is made of the length
 * alone, or the verifier would walk every combination of tails. */
static __always_inline void *tail(const struct frame *f, __u32 l4, __u32 len, __u32 n)
{
	__u64 off = l4 + (len & ~(2 * n - 1));

	opaque(off);
	return off <= LINEAR_MAX ? at(f, off, n) : NULL;
}

#define NOT_LINEAR (~0ULL)

/* udp_sum adds up a UDP datagram of len octets, its checksum field included. All
 * of it must be linear. Not static: the verifier looks at it once, not at each
 * call. */
__attribute__((noinline)) __u64 udp_sum(struct xdp_md *ctx, __u32 l4, __u32 len)
{
	struct frame f;
	__u64 sum = 0;
	void *part;

	frame_load(ctx, KIND_NATIVE, &f);
	l4 &= 0xff; /* more than that it never is */
	opaque(l4);
	if (len >= CHUNK * CHUNKS)
		return NOT_LINEAR;
	for (__u32 i = 0; i < CHUNKS - 1; i++) {
		if ((i + 1) * CHUNK > len)
			break;
		part = at(&f, l4 + i * CHUNK, CHUNK);
		if (!part)
			return NOT_LINEAR;
		sum += (__u32)bpf_csum_diff(NULL, 0, part, CHUNK, 0);
	}
#pragma unroll
	for (__u32 n = CHUNK / 2; n >= 4; n /= 2) {
		if (!(len & n))
			continue;
		part = tail(&f, l4, len, n);
		if (!part)
			return NOT_LINEAR;
		sum += (__u32)bpf_csum_diff(NULL, 0, part, n, 0);
	}
	if (len & 2) {
		part = tail(&f, l4, len, 2);
		if (!part)
			return NOT_LINEAR;
		sum += *(__u16 *)part;
	}
	if (len & 1) {
		part = tail(&f, l4, len, 1);
		if (!part)
			return NOT_LINEAR;
		sum += bpf_htons(*(__u8 *)part << 8);
	}
	return sum;
}

/* What has to be done about the checksum of a UDP datagram. */
struct udp_check {
	__u16 was;
	bool leave; /* as it is: none, or the device that sends it makes it whole */
};

/* udp_check finds out what the checksum field holds. A sender on this host may
 * have left the checksum to its device: then the field has the folded sum of
 * the pseudo-header only, which stays right when addresses and ports are
 * swapped. An sk_buff remembers to complete it; native XDP makes a new packet,
 * so there it is completed here, as if the request had come so. But a whole
 * checksum may be equal to that sum by chance, 1 in 65,536: the sum over all
 * tells. False: not all of it is linear. */
static __always_inline bool udp_check_read(void *ctx, enum llama_kind kind, const struct frame *f, const struct packet *p,
					   struct udp_check *check)
{
	struct udphdr *udp = at(f, p->l4, sizeof(*udp));
	__u64 sum = pseudo_sum(f, p), datagram;
	__u16 pseudo = fold16(sum);

	if (!udp)
		return false;
	check->was = udp->check;
	check->leave = !udp->check;
	if (kind == KIND_TC || !udp->check || udp->check != pseudo)
		return true;
	datagram = udp_sum(ctx, p->l4, p->len + UDP_LEN);
	if (datagram == NOT_LINEAR)
		return false;
	sum += datagram;
	if (fold16(sum) == 0xffff) /* whole, and right */
		return true;
	if (kind == KIND_GENERIC)
		check->leave = true;
	else
		check->was = udp_check_add(0xffff, sum + (__u16)~pseudo);
	return true;
}
