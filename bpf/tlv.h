/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TLVs (RFC 8972, 4), answered as internal/stamp does:
 *
 *	Flags 1  Type 1  Length 2  Value …
 */
#pragma once

#include "csum.h"

#define TLV_LEN 4
#define TLV_MAX 4 /* Class of Service, Direct Measurement, padding, and one to spare */
#define TLV_U 0x80

#define TLV_PADDING 1
#define TLV_COS 4
#define TLV_DM 5
#define COS_LEN 4
#define DM_LEN 12

struct tlv {
	__u8 flags, type;
	__be16 len;
	__be32 value[];
};

static __always_inline struct tlv *tlv_at(const struct frame *f, __u64 off, __u32 n)
{
	opaque(off);
	return off <= LINEAR_MAX ? at(f, off, n) : NULL;
}

/* tlv_check tells why a TLV of which rest octets are there cannot be answered. */
static __always_inline enum llama_reason tlv_check(const struct frame *f, const struct tlv *t, __u64 off, __u32 rest)
{
	__u32 len = bpf_ntohs(t->len), want;

	if (len + TLV_LEN > rest)
		return REASON_TLV_MALFORMED;
	switch (t->type) {
	case TLV_PADDING: /* need not be linear: nothing of it changes */
		return REASON_REPLIED;
	case TLV_COS:
		want = COS_LEN;
		break;
	case TLV_DM:
		want = DM_LEN;
		break;
	default:
		return REASON_TLV_UNKNOWN;
	}
	if (len != want)
		return REASON_TLV_MALFORMED;
	return off + TLV_LEN + want <= linear_len(f) ? REASON_REPLIED : REASON_TLV_NOT_LINEAR;
}

/* tlvs_check tells why the packet is for the socket reflector, if it is. TLVs end
 * where there are fewer than four octets or four zeroes. */
static __always_inline enum llama_reason tlvs_check(void *ctx, enum llama_kind kind, __u32 payload, __u32 len)
{
	__u64 off = payload + BASE_LEN, end = payload + len;
	struct frame f;

	frame_load(ctx, kind, &f);
#pragma unroll
	for (__u32 i = 0; i <= TLV_MAX; i++) {
		enum llama_reason r;
		struct tlv *t;

		if (off + TLV_LEN > end)
			return REASON_REPLIED;
		t = tlv_at(&f, off, TLV_LEN);
		if (!t)
			return REASON_TLV_NOT_LINEAR;
		if (!*(__u32 *)t)
			return REASON_REPLIED;
		if (i == TLV_MAX)
			break;
		r = tlv_check(&f, t, off, end - off);
		if (r != REASON_REPLIED)
			return r;
		off += TLV_LEN + bpf_ntohs(t->len);
	}
	return REASON_TLV_MANY;
}

/* What TLVs report of the request, and ask for the reply. */
struct tlv_answer {
	__u64 deny_dscp;
	__u64 sum; /* how that of the packet changes */
	__u32 rx, tx;
	__u8 tos;
	bool stateless;
	bool cos;    /* one was seen: it has decided the reply's DSCP */
	bool denied; /* and was refused */
	__u8 dscp;   /* of the reply */
};

/* cos_answer reports the class that arrived and applies the one wanted for the
 * reply, if the policy permits it (RFC 8972, 4.4): DSCP1(6) DSCP2(6) ECN(2)
 * RP(2) Reserved(16). A second TLV that wants another class is refused. */
static __always_inline __be32 cos_answer(__be32 value, struct tlv_answer *a)
{
	__u32 want = bpf_ntohl(value) >> 26, refuse;

	if (a->cos)
		refuse = want != a->dscp || a->denied;
	else
		refuse = a->deny_dscp >> want & 1;
	if (refuse)
		a->denied = true;
	else
		a->dscp = want;
	a->cos = true;
	return bpf_htonl(want << 26 | (__u32)(a->tos >> 2) << 20 | (__u32)(a->tos & 3) << 18 | refuse << 16);
}

/* word_write writes a word of a TLV and returns how the sum changes. */
static __always_inline __u64 word_write(__be32 *at, __be32 is)
{
	__u64 sum = sum_replace(0, *at, is);

	*at = is;
	return sum;
}

static __always_inline __u64 flags_write(struct tlv *t, __u8 flags)
{
	return word_write((__be32 *)t, (*(__be32 *)t & bpf_htonl(0xffffff)) | bpf_htonl((__u32)flags << 24));
}

/* tlv_write answers one TLV, and tells how the sum of its words changes.
 * Verifier: each type has a bounds check of its own, since it does not see that
 * the length checked and the words written depend on the same type. */
static __always_inline bool tlv_write(const struct frame *f, __u64 off, __u8 type, struct tlv_answer *a, __u64 *sum)
{
	struct tlv *t;

	if (type == TLV_COS) {
		t = tlv_at(f, off, TLV_LEN + COS_LEN);
		if (!t)
			return false;
		*sum = flags_write(t, 0) + word_write(&t->value[0], cos_answer(t->value[0], a));
	} else if (type == TLV_DM) {
		t = tlv_at(f, off, TLV_LEN + DM_LEN);
		if (!t)
			return false;
		*sum = flags_write(t, a->stateless ? TLV_U : 0);
		if (a->stateless)
			return true;
		*sum += word_write(&t->value[1], bpf_htonl(a->rx));
		*sum += word_write(&t->value[2], bpf_htonl(a->tx));
	} else {
		t = tlv_at(f, off, TLV_LEN);
		if (!t)
			return false;
		*sum = flags_write(t, 0);
	}
	return true;
}

/* tlvs_write answers all TLVs, which tlvs_check has gone through. False: one could
 * not be written, which cannot be, but the verifier does not know. */
static __always_inline bool tlvs_write(void *ctx, enum llama_kind kind, __u32 payload, __u32 len, struct tlv_answer *a)
{
	__u64 off = payload + BASE_LEN, end = payload + len, change, next;
	struct frame f;
	struct tlv *t;

	frame_load(ctx, kind, &f);
#pragma unroll
	for (__u32 i = 0; i < TLV_MAX; i++) {
		if (off + TLV_LEN > end)
			return true;
		t = tlv_at(&f, off, TLV_LEN);
		if (!t)
			return false;
		if (!*(__u32 *)t)
			return true;
		next = off + TLV_LEN + bpf_ntohs(t->len);
		if (!tlv_write(&f, off, t->type, a, &change))
			return false;
		a->sum += (off - payload) & 1 ? sum_odd(change) : change;
		off = next;
	}
	return true;
}

/* Our own probes have a Class of Service and a Direct Measurement, and nothing else:
 * most packets are such, and need no walk. words are those of the UDP payload. */
#define PROBE_COS (BASE_LEN / 4)
#define PROBE_DM (PROBE_COS + (TLV_LEN + COS_LEN) / 4)
#define TLV_IS(type, len) bpf_htonl((type) << 16 | (len))

static __always_inline bool is_probe_tlvs(const __be32 *words)
{
	const __be32 but_flags = bpf_htonl(0xffffff);

	return (words[PROBE_COS] & but_flags) == TLV_IS(TLV_COS, COS_LEN) &&
	       (words[PROBE_DM] & but_flags) == TLV_IS(TLV_DM, DM_LEN);
}

static __always_inline void probe_tlvs_answer(__be32 *words, struct tlv_answer *a)
{
	a->sum = flags_write((struct tlv *)&words[PROBE_COS], 0) +
		 word_write(&words[PROBE_COS + 1], cos_answer(words[PROBE_COS + 1], a)) +
		 flags_write((struct tlv *)&words[PROBE_DM], a->stateless ? TLV_U : 0);
	if (a->stateless)
		return;
	a->sum += word_write(&words[PROBE_DM + 2], bpf_htonl(a->rx)) + word_write(&words[PROBE_DM + 3], bpf_htonl(a->tx));
}

#define TLVS_FAILED (~0ULL)

/* tlvs_answer packs what goes in and out of tlvs_write into words. */
static __always_inline __u64 tlvs_answer(void *ctx, enum llama_kind kind, __u64 where, __u64 counters, __u64 deny_dscp)
{
	struct tlv_answer a = {
		.deny_dscp = deny_dscp, .rx = counters, .tx = counters >> 32,
		.tos = where >> 32, .dscp = (where >> 34) & 63, .stateless = where >> 40,
	};

	if (!tlvs_write(ctx, kind, where & 0xffff, where >> 16 & 0xffff, &a))
		return TLVS_FAILED;
	return (__u64)a.dscp << 16 | fold16(a.sum);
}

/* These are not static, so that the verifier looks at them once, whatever it
 * knows where they are called: the ways through four TLVs are many. For the same
 * reason they take words only. */
__attribute__((noinline)) __u32 xdp_tlvs_check(struct xdp_md *ctx, __u32 payload, __u32 len)
{
	return tlvs_check(ctx, KIND_NATIVE, payload & 0xff, len);
}

__attribute__((noinline)) __u32 tc_tlvs_check(struct __sk_buff *ctx, __u32 payload, __u32 len)
{
	return tlvs_check(ctx, KIND_TC, payload & 0xff, len);
}

/* where is payload(16) len(16) tos(8) stateless(8), from the lowest bit; counters
 * is rx(32) tx(32). Answers how the sum changes(16) and the reply's DSCP(8). */
__attribute__((noinline)) __u64 xdp_tlvs_answer(struct xdp_md *ctx, __u64 where, __u64 counters, __u64 deny_dscp)
{
	return tlvs_answer(ctx, KIND_NATIVE, where, counters, deny_dscp);
}

__attribute__((noinline)) __u64 tc_tlvs_answer(struct __sk_buff *ctx, __u64 where, __u64 counters, __u64 deny_dscp)
{
	return tlvs_answer(ctx, KIND_TC, where, counters, deny_dscp);
}
