/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the monotonic clock to stamps on the wire, as internal/stamp's Clock. */
#pragma once

#include "frame.h"

#define SECOND 1000000000ULL
#define NTP_UNIX_DELTA 2208988800ULL /* seconds from 1900 to 1970 */
/* A whole era more changes no stamp, and keeps the sum of any clock positive. */
#define ERA (1ULL << 32)

/* The clock as it was when the packet came. User space may move it meanwhile:
 * both stamps of a packet must be of one clock. */
struct wire_clock {
	__u64 offset_ns; /* from CLOCK_MONOTONIC to the scale and epoch on the wire */
	__be16 error_estimate;
	bool ptp;
};

static __always_inline void clock_read(const struct llama_lease *lease, struct wire_clock *c)
{
	c->ptp = lease->ptp;
	c->error_estimate = lease->error_estimate;
	c->offset_ns = lease->wall_offset_ns + ERA * SECOND;
	if (c->ptp)
		c->offset_ns += (__s64)lease->tai_offset_s * (__s64)SECOND;
	else
		c->offset_ns += NTP_UNIX_DELTA * SECOND;
	opaque(c->offset_ns); /* read once */
}

static __always_inline __be64 wire_time(const struct wire_clock *c, __u64 mono_ns)
{
	__u64 ns = mono_ns + c->offset_ns;
	__u64 sec = ns / SECOND;
	__u64 frac = ns - sec * SECOND;

	if (!c->ptp)
		frac = ((frac << 32) + SECOND / 2) / SECOND;
	return bpf_cpu_to_be64(sec << 32 | frac);
}
