/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The buffer that a program was given, whichever kind of program it is. */
#pragma once

#include "shared.h"

#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Where the code runs; always a constant, so that the other kinds' code goes. */
enum llama_kind {
	KIND_NATIVE,  /* XDP of a driver */
	KIND_GENERIC, /* XDP of the stack: an sk_buff is behind it */
	KIND_TC,      /* at ingress, and from here on with an sk_buff */
	KIND_EGRESS,
};

static __always_inline bool has_skb(enum llama_kind kind) { return kind >= KIND_TC; }

/* Set by user space before the load. With false the verifier finds the branch
 * dead and never sees a helper that the kernel does not have. */
const volatile bool llama_frags = false;  /* XDP buffers may have fragments */
const volatile bool llama_reflect = true; /* not only this process's own probes are of interest */

/* Not read here: they bring the enums into the object's BTF, where user space
 * finds the names. */
const volatile enum llama_reason llama_reasons = LLAMA_REASONS;
const volatile enum llama_action llama_actions = LLAMA_ACTIONS;
const struct llama_event *const volatile llama_event_shape; /* likewise */

struct frame {
	void *data; /* the linear part */
	void *end;
};

/* Keeps the compiler from knowing what x is, where the verifier does not know
 * it either and must see the check that follows. */
#define opaque(x) asm volatile("" : "+r"(x))

/* Ends a branch that looks something up in another map than the branch beside it:
 * otherwise clang makes one call of the two, with a map that is known only when it
 * runs, and the kernel can no more put the map's own function in its place. */
#define apart(text) asm volatile("# " text)

/* Verifier: it follows no packet pointer further than 65535 octets, so that
 * offsets that come out of a packet have to be bounded before they are used. */
#define LINEAR_MAX 0x7fff

/* at returns the n octets from offset off, or NULL unless they are linear. */
static __always_inline void *at(const struct frame *f, __u64 off, __u32 n)
{
	void *p = f->data + off;

	return p + n <= f->end ? p : NULL;
}

static __always_inline __u32 linear_len(const struct frame *f)
{
	return f->end - f->data;
}

/* frame_len is the length of the whole frame, fragments included. */
static __always_inline __u32 frame_len(void *ctx, enum llama_kind kind, const struct frame *f)
{
	if (has_skb(kind))
		return ((struct __sk_buff *)ctx)->len;
	if (llama_frags)
		return bpf_xdp_get_buff_len(ctx);
	return linear_len(f);
}

static __always_inline void frame_load(void *ctx, enum llama_kind kind, struct frame *f)
{
	if (has_skb(kind)) {
		struct __sk_buff *skb = ctx;

		f->data = (void *)(long)skb->data;
		f->end = (void *)(long)skb->data_end;
	} else {
		struct xdp_md *xdp = ctx;

		f->data = (void *)(long)xdp->data;
		f->end = (void *)(long)xdp->data_end;
	}
}

/* pull makes the first n octets linear, or all if there are fewer. It is for
 * TC, where drivers leave all but the headers in pages; an XDP buffer cannot
 * be changed so. All packet pointers are void afterwards. */
static __always_inline void pull(void *ctx, enum llama_kind kind, struct frame *f, __u32 n)
{
	struct __sk_buff *skb = ctx;

	if (!has_skb(kind))
		return;
	if (n > skb->len)
		n = skb->len;
	if (linear_len(f) < n)
		bpf_skb_pull_data(skb, n); /* if it fails, at says so */
	frame_load(ctx, kind, f);
}
