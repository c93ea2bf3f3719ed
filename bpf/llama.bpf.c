/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Session-Reflector in the kernel, and the stamps of our own probes. What
 * comes in is answered if it is wholly understood, dropped if the socket
 * reflector would refuse it, taken if it is a reply to a probe in flight, and
 * passed else.
 */
#include "capture.h"
#include "count.h"
#include "legacy.h"
#include "reflect.h"

#include <linux/pkt_cls.h>

/* The octets that are looked at, with room for TLVs that are not ours. */
#define LOOKED_AT_LEN (HEADERS_LEN + BASE_LEN + 84)

static __always_inline enum llama_reason arrive(void *ctx, enum llama_kind kind, struct packet *p)
{
	__u32 zero = 0;
	struct llama_lease *lease = bpf_map_lookup_elem(&llama_lease, &zero);
	struct llama_config *config = bpf_map_lookup_elem(&llama_config, &zero);
	struct llama_key key = {};
	enum llama_reason r;
	struct frame f;

	if (!lease || !config || !lease->until_ns)
		return REASON_DISARMED;
	r = parse(ctx, kind, p);
	if (r != REASON_REPLIED)
		return r;
	/* Not before: a look at the clock costs more than the way to here, which most
	 * of a host's packets do not get beyond. */
	p->rx_ns = bpf_ktime_get_ns();
	if (lease->until_ns <= p->rx_ns)
		return REASON_LEASE_EXPIRED;
	frame_load(ctx, kind, &f);
	pull(ctx, kind, &f, LOOKED_AT_LEN);
	if (p->probe)
		return capture(ctx, kind, &f, p);
	if (!llama_reflect)
		return REASON_OTHER_PORT;
	if (p->legacy)
		return legacy(ctx, kind, p);
	p->gen = config->gen;
	return answer(ctx, kind, &f, p, config, lease, &key);
}

static __always_inline int xdp(struct xdp_md *ctx, enum llama_kind kind)
{
	struct packet p = {.ifindex = ctx->ingress_ifindex};

	switch (count(&p, arrive(ctx, kind, &p))) {
	case ACTION_REPLY:
		return XDP_TX;
	case ACTION_DROP:
	case ACTION_TAKE:
		return XDP_DROP;
	case ACTION_ABORT:
		return XDP_ABORTED;
	default:
		return XDP_PASS;
	}
}

SEC("xdp.frags")
int llama_xdp(struct xdp_md *ctx)
{
	return xdp(ctx, KIND_NATIVE);
}

SEC("xdp.frags")
int llama_xdp_skb(struct xdp_md *ctx)
{
	return xdp(ctx, KIND_GENERIC);
}

SEC("tc")
int llama_tc(struct __sk_buff *ctx)
{
	struct packet p = {.ifindex = ctx->ifindex};

	switch (count(&p, arrive(ctx, KIND_TC, &p))) {
	case ACTION_REPLY:
		return bpf_redirect(p.ifindex, 0);
	case ACTION_DROP:
	case ACTION_TAKE:
	case ACTION_ABORT:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC; /* others may want it */
	}
}

/* At egress. Whatever it finds, the packet goes on. */
SEC("tc")
int llama_egress(struct __sk_buff *ctx)
{
	struct packet p = {};
	struct frame f;

	if (parse(ctx, KIND_EGRESS, &p) != REASON_REPLIED || p.options)
		return TC_ACT_UNSPEC;
	frame_load(ctx, KIND_EGRESS, &f);
	pull(ctx, KIND_EGRESS, &f, HEADERS_LEN + SSID_END);
	leave(ctx, &f, &p);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual BSD/GPL";
