/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Session-Reflector in the kernel. It answers what it wholly understands,
 * drops what the socket reflector would refuse, and passes everything else.
 */
#include "count.h"
#include "reflect.h"

#include <linux/pkt_cls.h>

static __always_inline int xdp(struct xdp_md *ctx, enum llama_kind kind)
{
	struct packet p = {.rx_ns = bpf_ktime_get_ns(), .ifindex = ctx->ingress_ifindex};

	switch (count(&p, reflect(ctx, kind, &p))) {
	case ACTION_REPLY:
		return XDP_TX;
	case ACTION_DROP:
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
	struct packet p = {.rx_ns = bpf_ktime_get_ns(), .ifindex = ctx->ifindex};

	switch (count(&p, reflect(ctx, KIND_TC, &p))) {
	case ACTION_REPLY:
		return bpf_redirect(p.ifindex, 0);
	case ACTION_DROP:
	case ACTION_ABORT:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC; /* others may want it */
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
