/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The counters: every packet ends in one reason. */
#pragma once

#include "maps.h"
#include "parse.h"

static __always_inline enum llama_action action_of(enum llama_reason r)
{
	if (r <= REASON_LEGACY)
		return ACTION_REPLY;
	if (r < REASON_PORT_LOW)
		return ACTION_PASS;
	if (r < REASON_CAPTURED)
		return ACTION_DROP;
	return r < REASON_WRITE_FAILED ? ACTION_TAKE : ACTION_ABORT;
}

/* count returns the action of the reason. Only what came to a reflector's port
 * by an interface of ours counts for the interface: other traffic, which is
 * most of a host's, must not pay for that. */
static __always_inline enum llama_action count(const struct packet *p, enum llama_reason r)
{
	enum llama_action action = action_of(r);
	__u32 at = r * LLAMA_ACTIONS + action, slot = p->slot;
	__u64 *packets = bpf_map_lookup_elem(&llama_reason, &at);
	struct llama_ifstat *stat;

	if (packets)
		++*packets;
	if (!p->known)
		return action;
	stat = bpf_map_lookup_elem(&llama_ifstat, &slot);
	if (!stat)
		return action;
	stat->seen++;
	if (action == ACTION_REPLY)
		stat->answered++;
	else if (action == ACTION_PASS)
		stat->passed_up++;
	else
		stat->dropped++;
	return action;
}
